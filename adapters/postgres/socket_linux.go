package postgres

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// endUnheard lets the kernel end a connection whose bytes nobody acknowledges, and keep-alive too (tcp(7),
// TCP_USER_TIMEOUT): without it they are sent again for a quarter of an hour.
func endUnheard(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var refused error
	err := c.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcpUnheard.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return refused
}
