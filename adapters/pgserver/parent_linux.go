package pgserver

import "syscall"

// endWithParent asks the kernel to end the server when the thread that started it ends: also after a kill -9 of ours.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} }
