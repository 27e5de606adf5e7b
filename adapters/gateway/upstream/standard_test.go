package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A name that leads elsewhere is followed though its calls never pause, on every way to an upstream.
func TestAChangedAddressIsFollowedUnderSteadyLoad(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"plain", "TLS", "HTTP/2", "the standard transport's"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			serves := func(name string) string {
				h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
				s := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{good.leaf()}}}
				l := must(net.Listen("tcp", "127.0.0.1:0"))
				t.Cleanup(func() { _ = s.Close() })
				switch way {
				case "TLS":
					go func() { _ = s.Serve(tls.NewListener(l, s.TLSConfig)) }()
				case "HTTP/2":
					go func() { _ = s.ServeTLS(l, "", "") }()
				default:
					go func() { _ = s.Serve(l) }()
				}
				return l.Addr().String()
			}
			var address atomic.Value
			address.Store(serves("before"))
			tr := newTransport(t)
			tr.LiveFor = 50 * time.Millisecond
			plain := tr.Dial
			tr.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return plain(ctx, network, address.Load().(string))
			}
			tr.Other.DialContext, tr.Other.ForceAttemptHTTP2, tr.Other.MaxIdleConnsPerHost = tr.Dial, true, 8
			s := &server{base: "http://localhost:80"}
			if way == "TLS" || way == "HTTP/2" {
				s.base = "https://localhost:443"
			}
			call := func() string {
				r := s.request(t, t.Context(), "POST 10")
				if way == "the standard transport's" {
					r.Body = later{r.Body}
				}
				_, body, err := finish(tr.RoundTrip(r))
				if err != nil {
					t.Error(err)
				}
				return body
			}
			if got := call(); got != "before" {
				t.Fatal(got)
			}
			address.Store(serves("after"))
			var all sync.WaitGroup
			for range 4 { // connections are never all idle
				all.Go(func() {
					for end := time.Now().Add(20 * time.Second); call() != "after"; {
						if time.Now().After(end) {
							t.Error("the change is not followed")
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

func TestConnectionsMadeTogetherDoNotEndTogether(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 100 {
		d := spread(time.Minute)
		seen[d] = true
		if d < 48*time.Second || d > 72*time.Second {
			t.Errorf("%s", d)
		}
	}
	if len(seen) < 50 || spread(0) != 0 {
		t.Errorf("%d different times", len(seen))
	}
}

// farewell is a connection that is closed only when something has been read after TLS's word for the end.
type farewell struct {
	net.Conn
	ending atomic.Bool
	heard  chan struct{}
	once   sync.Once
}

func (f *farewell) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if f.ending.Load() {
		f.once.Do(func() { close(f.heard) })
	}
	return n, err
}

func (f *farewell) SetWriteDeadline(end time.Time) error { // crypto/tls bounds only its farewell
	f.ending.Store(true)
	return f.Conn.SetWriteDeadline(end)
}

func (f *farewell) Close() error {
	select {
	case <-f.heard:
		<-time.After(20 * time.Millisecond) // for whoever has heard to make something of it
	case <-time.After(300 * time.Millisecond): // nobody listens any more
	}
	return f.Conn.Close()
}

// The standard transport ends a call over TLS with a farewell. What an upstream answers to it is not the call's answer, nor its end:
// a call that has timed out would be charged.
func TestWhatIsAnsweredToAFarewellDoesNotCount(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{"the answer": "", "the end of the answer": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, reason := newTransport(t), errors.New("it took too long")
			ctx, cancel := context.WithCancelCause(t.Context())
			s := serveOver(t, ways()["TLS 1.2"], func(nc net.Conn, r *http.Request, _ int) bool {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(nc, sent)
				if sent == "" {
					cancel(reason)
				}
				_, _ = nc.Read(make([]byte, 1))
				_, _ = io.WriteString(nc, strings.TrimPrefix(ok("fine"), sent))
				return false
			})
			dial := tr.Other.DialContext
			tr.Other.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := dial(ctx, network, address)
				return &farewell{Conn: nc, heard: make(chan struct{})}, err
			}
			r := s.request(t, ctx, "POST 10")
			r.Body = later{r.Body}
			res, err := tr.RoundTrip(r)
			if sent != "" {
				if err != nil {
					t.Fatal(err)
				}
				cancel(reason)
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if !errors.Is(err, reason) {
				t.Errorf("%v, %v; want the reason of its end", res, err)
			}
		})
	}
}
