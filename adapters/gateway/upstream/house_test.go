package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server answers each request on a connection with what script writes; the connection ends when script returns false.
type server struct {
	net.Listener
	conns atomic.Int32
	calls atomic.Int32

	mu   sync.Mutex
	seen bytes.Buffer // all that was sent to it
}

// Write implements io.Writer, for what comes.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Write(p)
}

// took is what has come since it was last asked.
func (s *server) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.seen.Reset()
	return s.seen.String()
}

func serve(t *testing.T, script func(nc net.Conn, r *http.Request, n int) (more bool)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go func() {
				defer nc.Close()
				in := bufio.NewReader(io.TeeReader(nc, s))
				for more := true; more; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					more = script(nc, r, int(s.calls.Add(1)))
				}
			}()
		}
	}()
	return s
}

// answers serves the same bytes each time.
func answers(t *testing.T, raw string) *server {
	t.Helper()
	return serve(t, func(nc net.Conn, _ *http.Request, _ int) bool {
		_, err := io.WriteString(nc, raw)
		return err == nil
	})
}

func newTransport(t *testing.T) *Transport {
	t.Helper()
	var d net.Dialer
	std := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: 64 << 10}
	tr := &Transport{Dial: d.DialContext, Other: std, MaxHeader: 64 << 10, MaxIdle: 8, MaxIdlePerHost: 4, IdleFor: time.Minute}
	tr.BodyHasCome = func(r *http.Request) bool { _, late := r.Body.(later); return !late }
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// later is a body that is still to come.
type later struct{ io.ReadCloser }

// request is a call with a body as a server has it: it cannot be read again. Its size is in the method's name, as in "POST 1000".
func (s *server) request(t *testing.T, ctx context.Context, call string) *http.Request {
	t.Helper()
	method, size, _ := strings.Cut(call, " ")
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr().String()+"/path?q=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(size); err == nil {
		r.ContentLength, r.Body = int64(n), io.NopCloser(strings.NewReader(strings.Repeat("b", n)))
	}
	return r
}

// call makes a call and reads its answer to the end.
func (s *server) call(t *testing.T, rt http.RoundTripper, call string) (*http.Response, string, error) {
	t.Helper()
	return finish(rt.RoundTrip(s.request(t, t.Context(), call)))
}

// finish reads an answer to its end.
func finish(res *http.Response, err error) (*http.Response, string, error) {
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

// eventually looks again and again, in step with a ticker, until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("still not so: %s", what)
		}
	}
}

func ok(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: " + string(rune('0'+len(body))) + "\r\n\r\n" + body
}

var long = strings.Repeat("x", 70<<10)
