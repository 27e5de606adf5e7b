package postgres

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A peer that acknowledges nothing for this long is gone: the kernel then ends the connection, and whatever waits on it.
const (
	tcpIdle    = 10 * time.Second // without a byte: then the kernel asks
	tcpAskEach = 5 * time.Second
	tcpAsks    = 3
	tcpUnheard = 15 * time.Second // TCP_USER_TIMEOUT: bytes sent, none acknowledged
)

// tcpDialer is the way to the server for all connections of this package.
var tcpDialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: tcpIdle, Interval: tcpAskEach, Count: tcpAsks},
	Control:         endUnheard,
}

// socket is a network connection whose waits can be ended from outside, for good.
type socket struct {
	net.Conn
	mu   sync.Mutex
	over bool
}

// end makes reads and writes fail at once, those that wait now and all later ones.
func (s *socket) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	_ = s.Conn.SetDeadline(time.Unix(1, 0)) // it fails on a closed connection only, where nobody waits
}

func (s *socket) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// SetDeadline moves the time when reads and writes give up, unless they have ended.
func (s *socket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	return s.Conn.SetDeadline(t)
}

// SetWriteDeadline is what crypto/tls calls before it says goodbye.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// Read names the cause when the time is over: "i/o timeout" alone does not say whose.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err == nil {
		return n, nil
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Timeout() {
		err = &net.OpError{Op: op.Op, Net: op.Net, Source: op.Source, Addr: op.Addr, Err: errSilent{}}
	}
	return n, err
}

// within gives op so long, and ends the connection when that was not enough.
func (s *socket) within(most time.Duration, op func() error) error {
	if err := s.SetDeadline(time.Now().Add(most)); err != nil {
		return err // closed
	}
	err := op()
	if late := net.Error(nil); err != nil && errors.As(err, &late) && late.Timeout() {
		s.end()
		return err
	}
	_ = s.SetDeadline(time.Time{}) // it fails on a closed connection only
	return err
}

// errSilent is the reason of a read that was ended because its time was over.
type errSilent struct{}

func (errSilent) Error() string   { return "the database did not answer in time" }
func (errSilent) Timeout() bool   { return true }
func (errSilent) Temporary() bool { return true } // else crypto/tls would take it for its own end and wrap it
