package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
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
	nothingHeld(t, handle) // somebody has to live until the dead node's lease is over
	two.finish(t)
	sound(t, address)
}

// Without its database a node cannot know that a key is still its call's. It cuts the call while nobody else can have the key
// yet, and does not charge it.
func TestAStreamWithAKeyEndsBeforeItsLeaseWhenTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	var calls, live, most atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), live.Add(1)))
		defer live.Add(-1)
		for first := calls.Add(1) == 1; first && r.Context().Err() == nil; {
			_, _ = io.WriteString(w, ".")
			w.(http.Flusher).Flush()
			pause(r.Context(), 50*time.Millisecond)
		}
		_, _ = io.WriteString(w, "end")
	}))
	t.Cleanup(upstream.Close)
	server := dbtest.NewServer(t)
	address := server.DatabaseURL()
	key := seedAt(t, address, upstream.URL)
	const lease = 6 * time.Second
	p := launch(t, fast(address, upstream, "IDEMPOTENCY_LEASE_MS", "6000", "LEASE_TTL_MS", "30000"), "serve")
	origin := p.listening(t)
	call := func() (*http.Response, error) {
		r, err := http.NewRequest(http.MethodGet, origin+"/v1/call/weather/forecast", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Idempotency-Key", "order-1")
		return http.DefaultClient.Do(r)
	}
	res, err := call()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	away := time.Now()
	if _, err := io.Copy(io.Discard, res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v", err)
	}
	if took := time.Since(away); took >= lease {
		t.Errorf("it lived %s on a lease of %s", took, lease)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; pause(t.Context(), 100*time.Millisecond) {
		again, err := call()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(again.Body)
		again.Body.Close()
		if again.StatusCode == http.StatusOK && err == nil {
			if string(body) != "end" || again.Header.Get("Idempotent-Replayed") != "" {
				t.Errorf("%q, %v", body, again.Header)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the outage a call gets %d %s", again.StatusCode, body)
		}
	}
	if n := len(charged(t, database(t, address))); n != 1 || calls.Load() != 2 || most.Load() != 1 {
		t.Errorf("%d charges for %d executions, %d at once", n, calls.Load(), most.Load())
	}
	p.finish(t)
	sound(t, address)
}
