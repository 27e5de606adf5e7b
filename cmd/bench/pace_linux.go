package main

import (
	"runtime"
	"syscall"
	"time"
)

// exactly gives the calling goroutine a thread of its own for the rest of its life: Go's timers are up to a millisecond
// late in a process that mostly waits for the network, which is as long as the calls that are measured here.
func exactly() { runtime.LockOSThread() }

func pause(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // a signal ends it early: the call is then sent a moment too soon
}
