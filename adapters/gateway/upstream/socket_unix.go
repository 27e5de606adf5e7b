//go:build unix

package upstream

import (
	"io"
	"syscall"
)

const canLook = true

// readNow reads what is here. It is errNothing when nothing is.
func (s *socket) readNow(p []byte) (int, error) {
	if s.raw == nil {
		return 0, errClosed
	}
	s.into = p
	failed := s.raw.Read(s.tryRead)
	s.into = nil
	switch n, err := s.read, s.failed; {
	case failed != nil:
		return 0, failed
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK:
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

// look tries to read once.
func (s *socket) look(fd uintptr) bool {
	for {
		if s.read, s.failed = syscall.Read(int(fd), s.into); s.failed != syscall.EINTR {
			return true
		}
	}
}
