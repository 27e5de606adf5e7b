package metrics

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/api/metrics", nil))
	if rec.Code != 200 || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("got %d %s", rec.Code, rec.Header().Get("Content-Type"))
	}
	return rec.Body.String()
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	m := New()
	m.Observe("GET", "/api/apis", "apis", 200, 7*time.Millisecond)
	m.Observe("GET", "/api/apis", "apis", 200, 70*time.Millisecond)
	m.Observe("BREW", "/api/apis", "apis", 999, time.Second)
	contains(t, scrape(t, m),
		`http_requests_total{method="GET",route="/api/apis",route_group="apis",status_code="200"} 2`,
		`http_requests_total{method="OTHER",route="/api/apis",route_group="apis",status_code="0"} 1`,
		`http_request_duration_seconds_bucket{method="GET",route="/api/apis",route_group="apis",status_code="200",le="0.01"} 1`,
		`http_request_duration_seconds_bucket{method="GET",route="/api/apis",route_group="apis",status_code="200",le="5"} 2`,
		"go_goroutines", "process_start_time_seconds")
}

func TestLabelsStayBoundedWhateverIsAskedFor(t *testing.T) {
	m := New()
	for i := range maxSeries + 500 {
		m.Observe("GET", fmt.Sprintf("/%d", i), "other", 200, time.Millisecond)
	}
	text := scrape(t, m)
	if n := strings.Count(text, "\nhttp_requests_total{"); n > maxSeries+1 {
		t.Errorf("%d series", n)
	}
	contains(t, text, `http_requests_total{method="GET",route="_overflow",route_group="other",status_code="200"} 500`)
}

func TestChargingIsVisible(t *testing.T) {
	m := New()
	c := NewCharging(m)
	c.ObserveBatch(40, 3*time.Millisecond, nil)
	c.ObserveBatch(2, time.Second, errors.New("down"))
	state := ChargingState{Accounts: 2, OpenLeases: 3, CallsInHold: 4, HeldStroops: 25_000_000, Queued: 5, Failing: true,
		RecallsSent: 6, RecallsHeard: 7, RecalledStroops: 35_000_000, WaitsServed: 8, WaitsRefused: 9}
	m.WatchCharging(func() ChargingState { return state })
	contains(t, scrape(t, m),
		`metering_batches_total{result="stored"} 1`, `metering_batches_total{result="failed"} 1`, "metering_records_total 40",
		`metering_batch_records_bucket{le="64"} 1`, `metering_batch_duration_seconds_bucket{le="0.005"} 1`,
		"metering_leases_open 3", "metering_accounts 2", "metering_calls_in_hold 4", "metering_held_usdc 2.5",
		"metering_records_queued 5", "metering_failing 1", "metering_recalls_sent_total 6", "metering_recalls_heard_total 7",
		"metering_recalled_usdc_total 3.5", `metering_recall_waits_total{result="served"} 8`, `metering_recall_waits_total{result="refused"} 9`)
	state.Failing = false
	contains(t, scrape(t, m), "metering_failing 0")
}

func BenchmarkObserve(b *testing.B) {
	m := New()
	b.ReportAllocs()
	for b.Loop() {
		m.Observe("GET", "/v1/call/{api}/{path...}", "gateway", 200, time.Millisecond)
	}
}

func TestPartitionsAreShown(t *testing.T) {
	m := New()
	NewPartitions(m).Set(-1, 300, 2)
	contains(t, scrape(t, m), "usage_partitions_days_ahead -1", `usage_events_in_default{kind="waiting"} 300`,
		`usage_events_in_default{kind="stray"} 2`)
}
