//go:build unix

package upstream

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCall makes calls over TCP with our own transport and the standard one, with caller and upstream in this process.
func BenchmarkCall(b *testing.B) {
	answer := bytes.Repeat([]byte("a"), 100)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	})
	for _, scheme := range []string{"http", "https"} {
		s := httptest.NewUnstartedServer(h)
		if scheme == "http" {
			s.Start()
		} else {
			s.StartTLS()
		}
		b.Cleanup(s.Close)
		for _, tt := range []struct {
			name, method string
			size         int
		}{{"GET", "GET", 0}, {"POST 1 kB", "POST", 1 << 10}, {"POST 64 kB", "POST", 64 << 10}} {
			for _, way := range []string{"own", "standard"} {
				b.Run(scheme+"/"+tt.name+"/"+way, func(b *testing.B) {
					std := s.Client().Transport.(*http.Transport).Clone()
					std.DisableCompression, std.MaxIdleConnsPerHost = true, 64
					var rt http.RoundTripper = std
					if way == "own" {
						rt = benchTransport(std)
					}
					defer std.CloseIdleConnections()
					load(b, rt, tt.method, s.URL, bytes.Repeat([]byte("b"), tt.size))
				})
			}
		}
	}
}

// load makes calls, 32 at a time on two processors. Their contexts can be cancelled, as a server's requests can.
func load(b *testing.B, rt http.RoundTripper, method, url string, body []byte) {
	b.SetParallelism(16)
	b.ReportAllocs()
	defer processor(b)()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ctx, cancel := context.WithCancel(b.Context())
			r, _ := http.NewRequestWithContext(ctx, method, url+"/path?q=1", nil)
			r.Header = http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}, "Content-Type": {"application/json"}, "X-Request-Id": {"0193"}}
			if len(body) > 0 {
				r.ContentLength, r.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
			}
			res, err := rt.RoundTrip(r)
			if err != nil {
				cancel()
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			cancel()
		}
	})
}

func benchTransport(std *http.Transport) *Transport {
	return &Transport{
		Dial: (&net.Dialer{}).DialContext, Other: std, BodyHasCome: func(*http.Request) bool { return true },
		MaxHeader: 1 << 20, MaxIdle: 64, MaxIdlePerHost: 64, IdleFor: time.Minute,
	}
}

// processor reports the processor time of a call, of the whole process: on a machine that others use too, it moves less than the clock.
func processor(b *testing.B) func() {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	return func() { b.ReportMetric(float64(spent()-before)/float64(b.N)/1e3, "cpu-us/op") }
}
