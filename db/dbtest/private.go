package dbtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const privatePrefix = "callora-test-postgres-"

// privateDir names the folder of this process's server. Go gives a test process no last word, so the folder stays at its
// end; the next test process sweeps it.
func privateDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("%s%d", privatePrefix, os.Getpid()))
}

// sweep removes the folders of test processes that are no more. Their servers ended with them.
func sweep() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), privatePrefix+"*"))
	for _, dir := range found {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), privatePrefix))
		if err != nil || alive(pid) && pid != os.Getpid() {
			continue
		}
		_ = os.RemoveAll(dir) // another process may be sweeping too
	}
}

func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}
