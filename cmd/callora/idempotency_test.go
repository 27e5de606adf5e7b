package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The first execution dies with its node. The second runs under the same event, soon, and is the only one charged.
func TestAKeyWhoseNodeWasKilledIsTakenOverUnderItsEvent(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	begun, events := make(chan string, 2), make(chan string, 2)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		events <- r.Header.Get("X-Request-Id")
		if calls.Add(1) == 1 {
			begun <- ""
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(upstream.Close)
	address, key := seeded(t, upstream.URL)
	handle := database(t, address)
	const lease = 2 * time.Second
	settings := fast(address, upstream, "IDEMPOTENCY_LEASE_MS", "2000")
	one, two := launch(t, settings, "serve"), launch(t, settings, "serve")
	origins := []string{one.listening(t), two.listening(t)}
	crowd := newCrowd(key)
	first := make(chan int, 1)
	go func() { first <- crowd.call(origins[0], "Idempotency-Key", "order-1") }()
	<-begun
	killed := time.Now()
	one.signal(t, syscall.SIGKILL)
	one.exit(t)
	if status := <-first; status != 0 {
		t.Errorf("the killed node's caller got %d", status)
	}
	if status := crowd.call(origins[1], "Idempotency-Key", "order-1"); status != http.StatusOK {
		t.Errorf("the second call got %d", status)
	}
	if took := time.Since(killed); took > lease+patience/2 {
		t.Errorf("the key was taken over after %s", took)
	}
	if dead, heir := <-events, <-events; dead != heir || !charged(t, handle)[heir] {
		t.Errorf("the dead call was %s, its heir %s", dead, heir)
	}
	if status := crowd.call(origins[1], "Idempotency-Key", "order-1"); status != http.StatusOK || calls.Load() != 2 {
		t.Errorf("a replay got %d, after %d executions", status, calls.Load())
	}
	if n := len(charged(t, handle)); n != 1 {
		t.Errorf("%d charges", n)
	}
	two.finish(t)
	nothingHeld(t, handle)
	sound(t, address)
}
