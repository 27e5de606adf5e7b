package pgserver

import (
	"os"
	"syscall"
)

const (
	memoryDir  = "/dev/shm"
	memoryNeed = 4 << 30 // bytes free
)

// tempParent is where temporary folders are made; "": where the system has them. A server that is made to be thrown away is
// made in memory where that has room: each test's database is hundreds of files, and a disk's file system spends longer on
// making and deleting those than the tests do on all else. TMPDIR, when it is set, decides.
func tempParent(durable bool) string {
	if durable || os.Getenv("TMPDIR") != "" {
		return ""
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memoryDir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < memoryNeed {
		return ""
	}
	return memoryDir
}
