package httpkit

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// queued is how many bytes wait in the system to be read from a connection, as far as that is known (tcp(7), SIOCINQ).
func queued(c net.Conn) int64 {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	rc, err := raw.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	if rc.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }) != nil || err != nil {
		return 0
	}
	return int64(n)
}
