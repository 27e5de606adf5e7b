//go:build unix && !linux

package pgserver

import "syscall"

// endWithParent has no help from these kernels: a server whose parent was killed lives until the next start in its folder.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
