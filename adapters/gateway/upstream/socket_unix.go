//go:build unix

package upstream

import (
	"io"
	"syscall"
)

const canLook = true

// readNow reads what is here. It is errNothing when nothing is.
func (s *socket) readNow(p []byte) (n int, err error) {
	if s.raw == nil {
		return 0, errClosed
	}
	failed := s.raw.Read(func(fd uintptr) bool {
		for {
			if n, err = syscall.Read(int(fd), p); err != syscall.EINTR {
				return true
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK:
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
