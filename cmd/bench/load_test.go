package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serving is a load on a handler.
func serving(t *testing.T, h http.HandlerFunc, requests int) load {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	l := load{addrs: []string{strings.TrimPrefix(s.URL, "http://")}, conns: 4}
	for range requests {
		l.requests = append(l.requests, newRequest(getQuote, buyer{}))
	}
	return l
}

func TestALoadCountsWhatTheServerServed(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	l := serving(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		upstream(w, r)
	}, 50)
	l.lead = 20 * time.Millisecond
	saturated, err := l.saturate(t.Context(), 50*time.Millisecond)
	if err != nil || saturated.measured == 0 || saturated.measured >= saturated.calls {
		t.Fatalf("%d calls, %d measured, %v", saturated.calls, saturated.measured, err)
	}
	l.lead = 0
	each, err := l.each(t.Context())
	if err != nil || each.calls != 50 {
		t.Errorf("each of 50 requests: %d calls, %v", each.calls, err)
	}
	arrived, err := l.arrive(t.Context(), 1000, 100*time.Millisecond)
	if err != nil || arrived.calls != 100 || len(arrived.latencies) != 100 {
		t.Errorf("100 arrivals: %d calls, %d latencies, %v", arrived.calls, len(arrived.latencies), err)
	}
	if sum := int64(saturated.calls + each.calls + arrived.calls); sum != served.Load() {
		t.Errorf("counted %d calls of %d", sum, served.Load())
	}
}

func TestALoadFailsWhenAnyAnswerIsWrong(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	l := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 7 {
			w.WriteHeader(http.StatusPaymentRequired)
			return
		}
		upstream(w, r)
	}, 20)
	if got, err := l.each(t.Context()); !errors.Is(err, errWrong) || got.wrong != 1 || got.calls != 19 {
		t.Errorf("%d right, %d wrong, %v", got.calls, got.wrong, err)
	}
}

// Without this, a server that stalls would be charged for one slow call, not for all those that had to wait.
func TestACallsLatencyCountsFromTheMomentItWasDue(t *testing.T) {
	t.Parallel()
	l := serving(t, upstream, 1)
	c, err := dial(l.addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	due, more := time.Now().Add(-time.Hour), true
	got := work(c, time.Time{}, nil, func(*rand.Rand) (*request, time.Time, bool) {
		defer func() { more = false }()
		return &l.requests[0], due, more
	})
	if got.first != nil || got.quantile(1) < time.Hour {
		t.Errorf("a call that was due an hour ago took %s, %v", got.quantile(1), got.first)
	}
}

func TestALoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	l := serving(t, func(http.ResponseWriter, *http.Request) {
		cancel()
		<-release
	}, 1)
	t.Cleanup(func() { close(release) }) // before the server's own cleanup, which waits for its handlers
	if _, err := l.saturate(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

func TestQuantilesAndMedians(t *testing.T) {
	t.Parallel()
	var x tally
	for i := range 100 {
		x.latencies = append(x.latencies, time.Duration(i+1))
	}
	if got := [...]time.Duration{x.quantile(0), x.quantile(0.5), x.quantile(0.99), x.quantile(1)}; got != [...]time.Duration{1, 51, 100, 100} {
		t.Errorf("quantiles %v", got)
	}
	if median(nil) != 0 || median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1, 2, 3}) != 2.5 {
		t.Error("the median is not the middle")
	}
	if got := added([]float64{1, 5, 2}, []float64{4, 6, 9}); got != 3 {
		t.Errorf("added %v, want the median of 3, 1, 7", got)
	}
}

func TestJudgeMarksWhatMissesItsBar(t *testing.T) {
	t.Parallel()
	f := findings{
		Sent: []sent{{
			Rates:     []rate{{Target: bare, Ratio: []float64{1}}, {Target: async, Ratio: []float64{0.9, 1.2, 1.3}}, {Target: durable, Ratio: []float64{0.94}}},
			Latencies: []latency{{Target: bare, P99: []float64{1000}}, {Target: async, P99: []float64{900}}, {Target: durable, P99: []float64{9100}}},
		}},
		Spread: []spread{
			{Mode: async, Many: rate{Ratio: []float64{1.02}}, Crowd: rate{Ratio: []float64{0.69}}},
			{Mode: durable, Many: rate{Ratio: []float64{0.84}}, Crowd: rate{Ratio: []float64{0.71}}},
		},
		Writer: []writing{{Batch: 2000, RowsPerSec: 150_000, Right: true}, {Batch: 64, RowsPerSec: 1, Right: true}},
		Books:  []books{{Charged: 5, Events: 5}, {Charged: 5, Events: 4}},
	}
	want := []bool{true, false, true, false, true, false, false, true, true, false}
	got := f.judge()
	if len(got) != len(want) {
		t.Fatalf("%d bars, want %d", len(got), len(want))
	}
	for i, b := range got {
		if b.Passed != want[i] {
			t.Errorf("%s %v %s %v: passed %v", b.What, b.Value, b.Bound, b.Limit, b.Passed)
		}
	}
}
