package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// A call on a silent network is refused after METERING_COMMIT_TIMEOUT_MS, or after the time for a lease; what comes on top
// is for a busy machine.
const (
	silentCommit  = 500 * time.Millisecond
	silentRefusal = 3*time.Second + 5*time.Second
)

func TestASilentDatabaseMeansBoundedRefusalsAndRecovery(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	proxy := dbtest.NewProxy(t, address)
	handle := database(t, address)
	fund(t, handle, 10_000_000)
	p := launch(t, fast(proxy.URL(), upstream, "METERING_COMMIT_TIMEOUT_MS", "500", "LEASE_TTL_MS", "10000", "LEASE_IDLE_MS", "1000",
		"SHUTDOWN_TIMEOUT_MS", "6000", "DB_CONN_TIMEOUT", "1000"), "serve")
	origin := p.listening(t)
	crowd := newCrowd(key)
	crowd.call(origin)

	var slowest atomic.Int64
	storm := func(ctx context.Context) (wait func()) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for ctx.Err() == nil {
					begun := time.Now()
					if crowd.call(origin) == http.StatusServiceUnavailable {
						slowest.Store(max(slowest.Load(), int64(time.Since(begun))))
						pause(ctx, 10*time.Millisecond)
					}
				}
			})
		}
		return all.Wait
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	wait := storm(ctx)
	for range rounds(t, 2) {
		crowd.await(t, http.StatusOK, 100)
		proxy.Silence()
		crowd.await(t, http.StatusServiceUnavailable, 20)
		proxy.Heal(t, address)
	}
	crowd.await(t, http.StatusOK, 100)
	stop()
	wait()
	if took := time.Duration(slowest.Load()); took > silentRefusal {
		t.Errorf("a refusal took %v, with %v to commit", took, silentCommit)
	}
	t.Logf("the slowest refusal took %v; by status %v", time.Duration(slowest.Load()), crowd.counts)
	nothingHeld(t, handle) // idle money is given back when all that was unclear is clear
	events := charged(t, handle)
	for id := range events {
		if !crowd.whole[id] {
			t.Errorf("call %s is charged, and was not served", id)
		}
	}
	for id := range crowd.whole {
		if !events[id] {
			t.Errorf("call %s was served, and is not charged", id)
		}
	}

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	wait = storm(ctx)
	crowd.await(t, http.StatusOK, 50)
	proxy.Silence()
	begun := time.Now()
	p.signal(t, syscall.SIGTERM)
	code := p.exit(t)
	if took := time.Since(begun); took > 6*time.Second+silentRefusal {
		t.Errorf("it ended %v after SIGTERM", took)
	} else {
		t.Logf("it ended with code %d, %v after SIGTERM", code, took)
	}
	stop()
	wait()

	again := launch(t, fast(address, upstream), "serve") // its expiry pass frees what the other could not give back
	again.listening(t)
	nothingHeld(t, handle)
	again.finish(t)
	sound(t, address)
}

// await waits for so many more answers with a status.
func (c *crowd) await(t *testing.T, status, more int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for until := c.count(status) + more; c.count(status) < until; {
		if ctx.Err() != nil {
			t.Fatalf("no more calls end with %d: %v", status, c.counts)
		}
		pause(ctx, 10*time.Millisecond)
	}
}
