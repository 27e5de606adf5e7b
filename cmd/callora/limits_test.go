package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// Two nodes admit together what a key may, also from before one of them was there; without their store each admits its share,
// starts all the same, and says so.
func TestNodesShareRateLimitsThroughTheirStore(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	store := miniredis.RunT(t)
	store.RequireAuth("hunter22-hunter22")
	settings := fast(address, upstream, "GATEWAY_RATE_LIMIT_PER_MINUTE", "10", "RATE_LIMIT_STORE", "redis://:hunter22-hunter22@"+store.Addr(), "RATE_LIMIT_STORE_TIMEOUT_MS", "5000")
	one, two := launch(t, settings, "serve"), launch(t, settings, "serve")
	origins := []string{one.listening(t), two.listening(t)}
	crowd := newCrowd(key)
	for i := range 20 {
		crowd.call(origins[i%2])
	}
	if served, refused := crowd.count(http.StatusOK), crowd.count(http.StatusTooManyRequests); served != 10 || refused != 10 {
		t.Errorf("%d served and %d refused, want 10 and 10", served, refused)
	}
	wantHealth(t, origins[0], "ok", "ok")
	store.Close()
	alone := launch(t, settings, "serve")
	if status := newCrowd(key).call(alone.listening(t)); status != http.StatusOK {
		t.Errorf("a node without its store answers %d", status)
	}
	wantHealth(t, alone.listening(t), "degraded", "down")
	for _, p := range []*process{one, two, alone} {
		p.finish(t)
	}
	if log := alone.stdout.text() + alone.stderr.text(); !strings.Contains(log, "the rate limits' store is away") || strings.Contains(log, "hunter22") {
		t.Errorf("the log says %s", log)
	}
}

// wantHealth expects a node that can be used, in the state status, and its store in the state store.
func wantHealth(t *testing.T, origin, status, store string) {
	t.Helper()
	res, body := get(t, origin+"/api/health")
	var got struct {
		Status string
		Checks map[string]string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("health is %d %s, %v", res.StatusCode, body, err)
	}
	if got.Status != status || got.Checks["rate_limit_store"] != store {
		t.Errorf("health is %s; want %s, and the store %s", body, status, store)
	}
}
