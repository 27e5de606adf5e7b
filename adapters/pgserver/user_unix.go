//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner is the user the server runs as: nil for the present one. PostgreSQL refuses to run as root.
type owner struct{ uid, gid int }

const anybody = 65534

func serverUser() *owner {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &owner{uid, gid}
		}
	}
	return &owner{anybody, anybody}
}

func (o *owner) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end the server in our own order
	if o != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid), Groups: []uint32{}}
	}
	return attr
}

// give makes the folder the server's.
func (o *owner) give(dir string) error {
	if o == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, o.uid, o.gid)
	})
	if err != nil {
		return fmt.Errorf("give %s to the server's user: %w", dir, err)
	}
	return nil
}

// byHandle is how a process reaches the folder that it inherits as its first extra file (proc(5)).
const byHandle = "/proc/self/fd/3"

// reach finds a way to the folder for the server's user that needs no change to the folders above it, which are not ours:
// where the system has it, an open handle, else the path, when that is open to all.
func (o *owner) reach(dir string) (*os.File, error) {
	if o == nil {
		return nil, nil
	}
	handle, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of PostgreSQL: %w", err)
	}
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		return handle, nil
	}
	_ = handle.Close() // it was only read
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", parent, err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return nil, fmt.Errorf("PostgreSQL does not run as root, and the user it runs as may not pass through %s: choose a folder that is open to all", parent)
		}
		if parent == filepath.Dir(parent) {
			return nil, nil
		}
	}
}

// cacheDir is where a fetched PostgreSQL is kept. Root's home is closed to the server's user, so root keeps it elsewhere,
// where only root can write.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/callora", nil
	}
	return userCacheDir()
}

// stopSignals are PostgreSQL's fast and immediate shutdown, and the last resort.
var stopSignals = []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
