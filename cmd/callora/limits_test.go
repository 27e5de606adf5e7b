package main

import (
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
	store.Close()
	alone := launch(t, settings, "serve")
	if status := newCrowd(key).call(alone.listening(t)); status != http.StatusOK {
		t.Errorf("a node without its store answers %d", status)
	}
	for _, p := range []*process{one, two, alone} {
		p.finish(t)
	}
	if log := alone.stdout.text() + alone.stderr.text(); !strings.Contains(log, "the rate limits' store is away") || strings.Contains(log, "hunter22") {
		t.Errorf("the log says %s", log)
	}
}
