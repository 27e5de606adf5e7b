package upstream

import (
	"encoding/binary"
	"net"
	"syscall"
)

// socket is the network's end of a connection, below TLS where there is TLS.
type socket struct {
	net.Conn
	raw     syscall.RawConn
	looking bool // reads do not wait
	secure  bool
	records records // of what has been read, when it is secure

	tryRead func(fd uintptr) bool // look, made once
	into    []byte                // where it reads to
	read    int
	failed  error
}

func newSocket(nc net.Conn, secure bool) *socket {
	s := &socket{Conn: nc, secure: secure}
	if c, ok := nc.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			s.raw, s.tryRead = raw, s.look
		}
	}
	return s
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (n int, err error) {
	if s.looking {
		n, err = s.readNow(p)
	} else {
		n, err = s.Conn.Read(p)
	}
	if s.secure {
		s.records.follow(p[:n])
	}
	return n, err
}

// records follows where in TLS's stream of records a connection is (RFC 8446 5.1, RFC 5246 6.2.1).
type records struct {
	header [5]byte // a type, a version, and how many bytes follow
	have   int     // bytes of a header
	left   int     // bytes of a record after its header
}

func (r *records) follow(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.header[r.have:], p)
		p = p[n:]
		if r.have += n; r.have == len(r.header) {
			r.have, r.left = 0, int(binary.BigEndian.Uint16(r.header[3:]))
		}
	}
}

// between reports whether no record has come in part.
func (r *records) between() bool { return r.have == 0 && r.left == 0 }

// nothing is what a look finds on a quiet connection. To crypto/tls it is an error that passes.
type nothing struct{}

func (nothing) Error() string   { return "nothing has come" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var errNothing net.Error = nothing{}
