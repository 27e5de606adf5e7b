package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// tuneRuntime sets what a gateway needs otherwise than most programs. What the environment says stays.
func tuneRuntime() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if n := runtime.GOMAXPROCS(0); os.Getenv("GOMAXPROCS") == "" && threads(n, runtime.NumCPU()) != n {
		runtime.GOMAXPROCS(threads(n, runtime.NumCPU()))
	}
}

// gcPercent is what serve runs with when the environment says nothing: a gateway's live heap is small and its garbage is
// plenty, so collecting at five times the live heap instead of twice it buys throughput with some tens of megabytes.
const gcPercent = 400

// threads is how many threads may run Go code, of a process that has all of its processors to itself or shares them with the
// database: one more than there are. Half of a call is system calls, and one that the kernel interrupts keeps those waiting
// that are queued on its thread. With fewer threads than processors there is a limit by time (a container's), and one more would use it up sooner.
func threads(now, processors int) int {
	if now < processors {
		return now
	}
	return processors + 1
}
