//go:build unix

package upstream

import "syscall"

const canTellFresh = true

// fresh looks, without waiting, whether there is anything to read on an idle connection. There must not be: an end means
// that the upstream has hung up, and bytes that came without a question would be taken for the next call's answer.
func (c *conn) fresh() bool {
	raw, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := raw.SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	err = rc.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		nothing = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	})
	return err == nil && nothing
}
