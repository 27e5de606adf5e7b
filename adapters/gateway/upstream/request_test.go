package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// A body that breaks off, or is not what it says, reaches no upstream: it is read before there is a connection.
func TestABodyThatBreaksOffReachesNoUpstream(t *testing.T) {
	t.Parallel()
	broken := errors.New("the caller's line is cut")
	for name, tt := range map[string]struct {
		body io.Reader
		want error
	}{
		"broken off":         {io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), broken},
		"refused at its end": {io.MultiReader(strings.NewReader("12345678"), iotest.ErrReader(broken)), broken},
		"too short":          {strings.NewReader("half"), io.ErrUnexpectedEOF},
		"too long":           {strings.NewReader("123456789"), errTooMuch},
	} {
		s, tr := answers(t, ok("fine")), newTransport(t)
		closed := &closes{Reader: tt.body}
		r := s.request(t, t.Context(), "POST 8")
		r.Body = closed
		if _, err := tr.RoundTrip(r); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v", name, err)
		}
		if n := s.conns.Load(); n != 0 || !closed.done {
			t.Errorf("%s: %d connections, the body is closed: %v", name, n, closed.done)
		}
	}
}

type closes struct {
	io.Reader
	done bool
}

func (c *closes) Close() error { c.done = true; return nil }

// A pooled connection may end just as a request comes. What may have been executed is not executed again.
func TestARequestIsMadeOnceUnlessItMayBeMadeTwice(t *testing.T) {
	t.Parallel()
	ways := ways()
	for call, again := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true,
		"POST": false, "POST 1000": false, "POST 60000": false, "PUT 10": false, "PATCH 10": false, "DELETE": false, "GET 10": false, "M-SEARCH": false,
	} {
		for name, keyed := range map[string]bool{"plain": false, "TLS 1.2": false, "TLS 1.3": false, "plain with an Idempotency-Key": true} {
			t.Run(call+", "+name, func(t *testing.T) {
				t.Parallel()
				way, _, _ := strings.Cut(name, " with")
				s := serveOver(t, ways[way], func(nc net.Conn, r *http.Request, n int) bool {
					_, _ = io.Copy(io.Discard, r.Body)
					if n != 2 { // the second call is read and not answered
						_, _ = io.WriteString(nc, "HTTP/1.1 204 No Content\r\n\r\n")
					}
					return n != 2
				})
				for _, rt := range []http.RoundTripper{newTransport(t), newTransport(t).Other} {
					s.calls.Store(0)
					if _, _, err := s.call(t, rt, "GET"); err != nil {
						t.Fatal(err)
					}
					r := s.request(t, t.Context(), call)
					if keyed {
						r.Header.Set("Idempotency-Key", "one")
					}
					_, _, err := finish(rt.RoundTrip(r))
					want := again
					if _, ours := rt.(*Transport); !ours && keyed && !strings.Contains(call, " ") {
						want = true // the standard transport takes the upstream to know the key (docs/decisions/0031)
					}
					if calls := s.calls.Load(); (err == nil) != want || (calls == 3) != want || calls > 3 {
						t.Errorf("%T: error %v after %d calls", rt, err, calls)
					}
				}
			})
		}
	}
}

// untouchable is a connection that takes nothing.
type untouchable struct{ *net.TCPConn }

func (u untouchable) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// takesSome is a connection that breaks in the middle of a request.
type takesSome struct{ *net.TCPConn }

func (u takesSome) Write(p []byte) (int, error) {
	n, _ := u.TCPConn.Write(p[:len(p)/2])
	_ = u.TCPConn.Close()
	return n, syscall.EPIPE
}

// A request of which the system took nothing has not been made, whatever it is; nor has one of which there is half a TLS record.
func TestARequestThatWasNotSentIsMadeOnAnotherConnection(t *testing.T) {
	t.Parallel()
	nothing := func(nc *net.TCPConn) net.Conn { return untouchable{nc} }
	half := func(nc *net.TCPConn) net.Conn { return takesSome{nc} }
	for way, config := range ways() {
		for name, tt := range map[string]struct {
			breaks func(*net.TCPConn) net.Conn
			again  bool
		}{"nothing was sent": {nothing, true}, "half was sent": {half, config != nil}} {
			t.Run(way+", "+name, func(t *testing.T) {
				t.Parallel()
				s := serveOver(t, config, func(nc net.Conn, r *http.Request, _ int) bool {
					if n, _ := io.Copy(io.Discard, r.Body); n == r.ContentLength {
						_, _ = io.WriteString(nc, ok("fine"))
					}
					return true
				})
				tr := newTransport(t)
				if _, _, err := s.call(t, tr, "POST 1000"); err != nil {
					t.Fatal(err)
				}
				used := tr.idle[s.origin()][0]
				used.socket.Conn = tt.breaks(used.socket.Conn.(*net.TCPConn))
				_, body, err := s.call(t, tr, "POST 1000")
				if (err == nil) != tt.again || tt.again && body != "fine" {
					t.Errorf("%q, %v", body, err)
				}
				if n := s.calls.Load(); n > 2 { // of which the last may be the half
					t.Errorf("%d calls", n)
				}
				if n := s.conns.Load(); (n == 2) != tt.again {
					t.Errorf("%d connections", n)
				}
			})
		}
	}
}

// stuck is a connection to an upstream that reads no large request.
type stuck struct {
	*net.TCPConn
	over chan struct{} // closed with it
}

func (s stuck) Write(p []byte) (int, error) {
	n, err := s.TCPConn.Write(p[:min(len(p), 12<<10)])
	if n < len(p) {
		<-s.over
	}
	return n, err
}

func (s stuck) Close() error { close(s.over); return s.TCPConn.Close() }

// left is a connection whose upstream hangs up on half a request.
type left struct {
	*net.TCPConn
	over chan struct{} // closed when it has
}

func (l left) Write(p []byte) (int, error) {
	n, _ := l.TCPConn.Write(p[:len(p)/2])
	<-l.over
	return n, syscall.EPIPE
}

// An upstream may answer before it has read a body, and leave that where it is, or hang up.
func TestAnEarlyAnswerIsHeard(t *testing.T) {
	t.Parallel()
	const early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo long"
	for _, call := range []string{"POST 1000", "POST 11000", "POST 64000"} {
		for name, leaves := range map[string]bool{" and left": true, " and kept open": false} {
			t.Run(call+name, func(t *testing.T) {
				t.Parallel()
				over := make(chan struct{})
				s := serve(t, func(nc net.Conn, _ *http.Request, n int) bool {
					_, _ = io.WriteString(nc, early)
					if n == 1 && leaves {
						close(over)
					}
					if n == 1 && !leaves {
						<-over
					}
					return false
				})
				tr := newTransport(t)
				plain := tr.Dial
				tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					nc, err := plain(ctx, network, address)
					if err != nil {
						return nil, err
					}
					if leaves {
						return left{nc.(*net.TCPConn), over}, nil
					}
					return stuck{nc.(*net.TCPConn), make(chan struct{})}, nil
				}
				res, body, err := s.call(t, tr, call)
				if err != nil || res.StatusCode != 413 || body != "too long" {
					t.Errorf("%v, %q, %v", res, body, err)
				}
				if !leaves {
					close(over)
				}
				tr.Dial = plain
				if _, body, err = s.call(t, tr, "GET"); body != "too long" || err != nil || s.conns.Load() != 2 {
					t.Errorf("then %q, %v, on %d connections", body, err, s.conns.Load())
				}
			})
		}
	}
}

// A caller who leaves ends a write that the upstream does not take, and a wait for its answer.
func TestACancelledCallWithABodyEnds(t *testing.T) {
	t.Parallel()
	reason := errors.New("the caller has left")
	for _, call := range []string{"POST 1000", "POST 64000"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := serve(t, func(nc net.Conn, _ *http.Request, _ int) bool {
			cancel(reason)
			_, _ = io.Copy(io.Discard, nc) // until the other side closes
			return false
		})
		tr := newTransport(t)
		if _, err := tr.RoundTrip(s.request(t, ctx, call)); !errors.Is(err, reason) {
			t.Errorf("%s: error %v", call, err)
		}
		if tr.kept != 0 {
			t.Errorf("%s: the connection is kept", call)
		}
	}
}

// A kept connection goes on after bodies of every size.
func TestAConnectionServesCallsWithBodies(t *testing.T) {
	t.Parallel()
	s := serve(t, func(nc net.Conn, r *http.Request, _ int) bool {
		n, _ := io.Copy(io.Discard, r.Body)
		if n != r.ContentLength {
			t.Errorf("%d of %d bytes", n, r.ContentLength)
		}
		_, _ = io.WriteString(nc, ok("fine"))
		return true
	})
	tr := newTransport(t)
	for _, call := range []string{"POST 1", "POST 65536", "GET", "PUT 12000", "POST", "DELETE 13000", "HEAD"} {
		if _, _, err := s.call(t, tr, call); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
