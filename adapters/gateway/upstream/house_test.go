package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
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
	base  string // of its URLs
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

// script answers a request that has come on a connection, the nth of its server; the connection ends when it returns false.
type script = func(nc net.Conn, r *http.Request, n int) (more bool)

func serve(t *testing.T, answer script) *server { t.Helper(); return serveOver(t, nil, answer) }

// serveOver is serve over TLS, unless config is nil.
func serveOver(t *testing.T, config *tls.Config, answer script) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: l, base: "http://" + l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() })
	if config != nil {
		s.base = "https://" + l.Addr().String()
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			if config != nil {
				nc = tls.Server(&hears{Conn: nc}, config)
			}
			go func() {
				defer nc.Close()
				in := bufio.NewReader(io.TeeReader(nc, s))
				for more := true; more; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					more = answer(nc, r, int(s.calls.Add(1)))
				}
			}()
		}
	}()
	return s
}

// ways are the ways to an upstream, as its TLS configuration: nil is without TLS.
func ways() map[string]*tls.Config {
	return map[string]*tls.Config{
		"plain":   nil,
		"TLS 1.2": {Certificates: []tls.Certificate{good.leaf()}, MaxVersion: tls.VersionTLS12},
		"TLS 1.3": {Certificates: []tls.Certificate{good.leaf()}, MinVersion: tls.VersionTLS13},
	}
}

// origin is the server as a transport keeps connections to it.
func (s *server) origin() origin {
	return origin{secure: strings.HasPrefix(s.base, "https"), address: s.Addr().String()}
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
	std := &http.Transport{
		DialContext: d.DialContext, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: &tls.Config{RootCAs: good.pool()},
	}
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
	r, err := http.NewRequestWithContext(ctx, method, s.base+"/path?q=1", nil)
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // longer than anything here takes
	defer cancel()
	return finish(rt.RoundTrip(s.request(t, ctx, call)))
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
