//go:build unix

package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/CalloraOrg/callora-backend/adapters/gateway/upstream"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// freeCharger admits everything at once.
type freeCharger struct{ charges atomic.Int64 }

type freeHold struct{ charger *freeCharger }

func (t *freeCharger) Reserve(context.Context, id.ID, money.Amount) (ports.Hold, error) {
	return freeHold{t}, nil
}
func (h freeHold) Charge(context.Context, usage.Event) error { h.charger.charges.Add(1); return nil }
func (freeHold) Release()                                    {}

// busy is a gateway with apis APIs, set up as in production, and a key of the first.
func busy(b *testing.B, upstream string, apis int) (*Gateway, string) {
	b.Helper()
	store := newFakeStore()
	var first listing.API
	for i := range apis {
		a := listing.API{ID: newID(), Slug: fmt.Sprintf("api-%d", i), BaseURL: upstream, Status: listing.Active, Endpoints: []listing.Endpoint{
			{ID: newID(), Method: "GET", Path: "/forecast", Price: money.MustParse("0.01")},
			{ID: newID(), Method: "GET", Path: "/forecast/{city}", Price: money.MustParse("0.02")},
			{ID: newID(), Method: "POST", Path: "/forecast", Price: money.MustParse("0.01")},
		}}
		if i == 0 {
			first = a
		}
		store.setAPI(a)
	}
	key := store.addKey(b, apikey.Key{UserID: newID(), APIID: first.ID, Scopes: []string{"*"}})
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel))
	g, err := New(Config{
		ProxyTimeout: 30 * time.Second, BodyLimit: 1 << 20, RatePerMinute: 1 << 30, AllowedHosts: []string{"127.0.0.1"}, proxied: proxied,
	}, Deps{
		Charger: &freeCharger{}, Keys: store, Routes: store, Changes: store, NewID: newID, Now: func() time.Time { return time.Now().UTC() }, Log: log,
		Limiter: newFakeLimiter(), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := g.table.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	return g, key
}

func plainUpstream(b *testing.B) string {
	b.Helper()
	body := []byte(`{"city":"Lagos","summary":"sunny spells","temperature_c":24,"wind_kmh":11}`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	b.Cleanup(s.Close)
	return s.URL
}

// engine answers without a network: what is left is the proxy's own work.
func engine(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: 0, Body: http.NoBody, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Date": {"Mon, 23 Nov 2026 01:00:00 GMT"}},
	}, nil
}

type sink struct{ h http.Header }

func (s *sink) Header() http.Header              { return s.h }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func offline(b *testing.B, h http.Handler, key string) {
	b.ReportAllocs()
	for b.Loop() {
		r := &http.Request{
			Method: "GET", URL: &url.URL{Path: "/v1/call/api-0/forecast", RawQuery: "city=Lagos"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"X-Api-Key": {key}, "User-Agent": {"bench"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}}, Host: "x",
			RemoteAddr: "127.0.0.1:1234", RequestURI: "/v1/call/api-0/forecast?city=Lagos", Body: http.NoBody,
		}
		h.ServeHTTP(&sink{http.Header{}}, r.WithContext(context.WithValue(b.Context(), http.ServerContextKey, nil)))
	}
}

func bare(u string, t http.RoundTripper) *httputil.ReverseProxy {
	to, _ := url.Parse(u)
	return &httputil.ReverseProxy{Transport: t, Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(to) }}
}

// BenchmarkOwnWork compares what the gateway itself costs with a bare reverse proxy, without a network.
func BenchmarkOwnWork(b *testing.B) {
	b.Run("bare", func(b *testing.B) { offline(b, bare("http://x", roundTrip(engine)), "") })
	b.Run("gateway", func(b *testing.B) {
		g, key := busy(b, "http://x", 1)
		g.proxy.Transport = roundTrip(engine)
		offline(b, g, key)
	})
}

func online(b *testing.B, h http.Handler, path, key string, body ...byte) {
	method := "GET"
	if len(body) > 0 {
		method = "POST"
	}
	front := inFront(h)
	defer front.Close()
	client := &http.Transport{MaxIdleConnsPerHost: 64}
	defer client.CloseIdleConnections()
	b.SetParallelism(16)
	b.ReportAllocs()
	defer processor(b)()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, _ := http.NewRequestWithContext(b.Context(), method, front.URL+path+"?city=Lagos", bytes.NewReader(body))
			r.Header.Set("X-Api-Key", key)
			res, err := client.RoundTrip(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != 200 {
				b.Errorf("status %d", res.StatusCode)
				return
			}
		}
	})
}

// BenchmarkCall makes calls over TCP, with generator, gateway and upstream in this process.
func BenchmarkCall(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		online(b, bare(plainUpstream(b), &http.Transport{MaxIdleConnsPerHost: 64}), "/forecast", "")
	})
	for _, apis := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("gateway with %d APIs", apis), func(b *testing.B) {
			g, key := busy(b, plainUpstream(b), apis)
			online(b, g, "/v1/call/api-0/forecast", key)
		})
	}
}

// BenchmarkPost makes calls with a body of 1 kB, on the caller's goroutine and through the standard transport.
func BenchmarkPost(b *testing.B) {
	body := bytes.Repeat([]byte("b"), 1<<10)
	for name, hasCome := range map[string]func(*http.Request) bool{"own": bodyHasCome, "standard": nil} {
		b.Run(name, func(b *testing.B) {
			g, key := busy(b, plainUpstream(b), 1)
			g.cfg.Engine.(*upstream.Transport).BodyHasCome = hasCome
			online(b, g, "/v1/call/api-0/forecast", key, body...)
		})
	}
}

func BenchmarkTable(b *testing.B) {
	g, _ := busy(b, "http://x", 10_000)
	store := g.deps.Routes.(*fakeStore)
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if g.table.Find("api-7777") == nil {
				b.Fatal("not found")
			}
		}
	})
	b.Run("change one of 10000", func(b *testing.B) {
		b.ReportAllocs()
		u := g.table.Find("api-1").ID
		for i := 0; b.Loop(); i++ {
			store.set(func(s *fakeStore) {
				a := s.apis[u]
				a.Name = strconv.Itoa(i)
				s.apis[u] = a
			})
			if _, err := g.table.Reload(b.Context(), []id.ID{u}); err != nil {
				b.Fatal(err)
			}
		}
	})
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
