//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// killAll kills the server with its sessions: left alone, they would go on until they notice, and could still commit.
// The server is frozen meanwhile, so that it makes no new ones and their process ids stay theirs.
func killAll(server *os.Process) error {
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for _, pid := range childrenOf(server.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // fails when it has just ended
	}
	return server.Kill()
}

func childrenOf(pid int) []int {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil { // not Linux
		list, _ = exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output() // fails when there are none
	}
	var pids []int
	for _, word := range strings.Fields(string(list)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
