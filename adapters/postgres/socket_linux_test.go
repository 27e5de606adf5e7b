package postgres

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// No proxy of a test can be as silent as a lost network: the kernel acknowledges for it. So the option itself is looked at.
func TestAConnectionWhoseBytesNobodyAcknowledgesIsEndedByTheKernel(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := tcpDialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	var refused error
	if err := raw.Control(func(fd uintptr) { got, refused = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil {
		t.Fatal(err)
	}
	if want := int(tcpUnheard.Milliseconds()); refused != nil || got != want {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, %v, want %d", got, refused, want)
	}
}
