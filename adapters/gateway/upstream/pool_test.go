package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

func TestAConnectionServesCallAfterCall(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"with a length": ok("fine"), "without a body": "HTTP/1.1 204 No Content\r\n\r\n",
		"with chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
	} {
		s, tr := answers(t, raw), newTransport(t)
		for range 5 {
			if _, _, err := s.call(t, tr, "GET"); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if n := s.conns.Load(); n != 1 {
			t.Errorf("%s: %d connections for 5 calls, want 1", name, n)
		}
	}
}

// Bytes that nobody asked for would be taken for the answer to the next call, which may be another consumer's.
func TestAnAnswerToNobodyIsNotTheNextCallsAnswer(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"with the answer": false, "after the answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := make(chan struct{})
			s := serve(t, func(nc net.Conn, _ *http.Request, n int) bool {
				switch {
				case n > 1:
					_, _ = io.WriteString(nc, ok("yours"))
				case late:
					_, _ = io.WriteString(nc, ok("mine"))
					<-given
					_, _ = io.WriteString(nc, ok("theirs"))
					given <- struct{}{}
				default:
					_, _ = io.WriteString(nc, ok("mine")+ok("theirs"))
				}
				return true
			})
			tr := newTransport(t)
			if _, body, err := s.call(t, tr, "GET"); body != "mine" || err != nil {
				t.Fatalf("%q, %v", body, err)
			}
			if late {
				given <- struct{}{}
				<-given
				eventually(t, "the bytes have come", func() bool {
					tr.mu.Lock()
					defer tr.mu.Unlock()
					return !tr.idle[s.origin()][0].fresh()
				})
			}
			if _, body, err := s.call(t, tr, "GET"); body != "yours" || err != nil {
				t.Errorf("the next call got %q, %v", body, err)
			}
		})
	}
}

func TestACallOnAConnectionThatTheUpstreamHasLeftIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := serve(t, func(nc net.Conn, _ *http.Request, n int) bool {
		if n != 2 { // the second call is read and not answered
			_, _ = io.WriteString(nc, ok("fine"))
		}
		return n != 2
	})
	tr := newTransport(t)
	for n := range 2 {
		if _, body, err := s.call(t, tr, "GET"); body != "fine" || err != nil {
			t.Errorf("call %d: %q, %v", n+1, body, err)
		}
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestANewConnectionThatIsNotAnsweredIsAnError(t *testing.T) {
	t.Parallel()
	s := serve(t, func(net.Conn, *http.Request, int) bool { return false })
	if _, _, err := s.call(t, newTransport(t), "GET"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("called %d times, want once", n)
	}
}

func TestACancelledCallEndsWhereverItIs(t *testing.T) {
	t.Parallel()
	reason := errors.New("the caller has left")
	for name, begun := range map[string]string{"before the header": "HTTP/1.1 2", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			s := serve(t, func(nc net.Conn, _ *http.Request, _ int) bool {
				_, _ = io.WriteString(nc, begun)
				cancel(reason)
				_, _ = nc.Read(make([]byte, 1)) // until the other side closes
				return false
			})
			tr := newTransport(t)
			res, err := tr.RoundTrip(s.request(t, ctx, "GET"))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if !errors.Is(err, reason) {
				t.Errorf("error %v; want %v", err, reason)
			}
			if tr.kept != 0 {
				t.Error("the connection is kept")
			}
		})
	}
}

func TestABodyThatIsNotReadToItsEndEndsItsConnection(t *testing.T) {
	t.Parallel()
	left := make(chan error, 1)
	s := serve(t, func(nc net.Conn, _ *http.Request, _ int) bool {
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
		_, err := nc.Read(make([]byte, 1))
		left <- err
		return false
	})
	tr := newTransport(t)
	res, err := tr.RoundTrip(s.request(t, t.Context(), "GET"))
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { // Close may come while another goroutine reads
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("a half body is whole")
		}
	})
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	reading.Wait()
	if err := <-left; !errors.Is(err, io.EOF) {
		t.Errorf("the upstream sees %v", err)
	}
	if n, err := res.Body.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("reading on: %d, %v", n, err)
	}
}

func TestThePoolKeepsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	tr := newTransport(t)
	var held []*http.Response
	for range 3 { // hosts
		s := answers(t, ok("fine"))
		for range tr.MaxIdlePerHost + 2 {
			res, err := tr.RoundTrip(s.request(t, t.Context(), "GET"))
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, res)
		}
	}
	for _, res := range held {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	n := 0
	for from, kept := range tr.idle {
		n += len(kept)
		if len(kept) > tr.MaxIdlePerHost {
			t.Errorf("%d kept for %v", len(kept), from)
		}
	}
	if n != tr.MaxIdle || tr.kept != n {
		t.Errorf("%d kept and %d counted, want %d", n, tr.kept, tr.MaxIdle)
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	t.Parallel()
	s, tr := answers(t, ok("fine")), newTransport(t)
	tr.IdleFor = 20 * time.Millisecond
	if _, _, err := s.call(t, tr, "GET"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "none is kept, and nothing looks after them", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.kept == 0 && len(tr.idle) == 0 && tr.tidy == nil
	})
}

func TestManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	s, tr := answers(t, ok("fine")), newTransport(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 50 {
				if _, body, err := s.call(t, tr, "GET"); body != "fine" || err != nil {
					t.Errorf("%q, %v", body, err)
				}
			}
		})
	}
	all.Wait()
	if tr.kept > tr.MaxIdlePerHost {
		t.Errorf("%d kept", tr.kept)
	}
}
