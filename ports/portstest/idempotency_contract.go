package portstest

import (
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// keyWorld is one consumer's Idempotency-Key "k" under test.
type keyWorld struct {
	ChargingWorld
	t        *testing.T
	consumer id.ID
	lease    vault.Lease
}

func (w *keyWorld) claim() ports.IdempotencyClaim {
	return ports.IdempotencyClaim{
		Consumer: w.consumer, Key: "k", Fingerprint: []byte("GET /a"), Event: w.NewID(), Lease: 30 * time.Second, Retention: time.Hour,
	}
}

func (w *keyWorld) try(c ports.IdempotencyClaim, outcome ports.IdempotencyOutcome) ports.IdempotencyState {
	w.t.Helper()
	got, err := w.Idempotency.Claim(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	if got.Outcome != outcome {
		w.t.Fatalf("outcome %d, want %d", got.Outcome, outcome)
	}
	return got
}

// claimed is a claim that was granted.
func (w *keyWorld) claimed() ports.IdempotencyClaim {
	w.t.Helper()
	c := w.claim()
	w.try(c, ports.IdempotencyClaimed)
	return c
}

func (w *keyWorld) keep(c ports.IdempotencyClaim, a usage.IdempotentAnswer, kept bool) {
	w.t.Helper()
	if got, err := w.Idempotency.Keep(w.t.Context(), c.Claimed(), a); got != kept || err != nil {
		w.t.Fatalf("kept %t, %v; want %t", got, err, kept)
	}
}

// charge records the event of a claim.
func (w *keyWorld) charge(event id.ID, c ports.IdempotencyClaim, outcome ports.RecordOutcome) {
	w.t.Helper()
	r := w.record(w.t, w.consumer, w.lease, 5)
	r.ID, r.IdempotencyKey, r.IdempotencyClaim = event, c.Key, c.Event
	want(w.t, w.append(w.t, r), outcome)
}

func (w *keyWorld) release(c ports.IdempotencyClaim) {
	w.t.Helper()
	if err := w.Idempotency.Release(w.t.Context(), c.Claimed()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *keyWorld) extend(held int, claims ...ports.IdempotencyClaim) {
	w.t.Helper()
	keys := make([]ports.ClaimedKey, len(claims))
	for i, c := range claims {
		keys[i] = c.Claimed()
	}
	got, err := w.Idempotency.Extend(w.t.Context(), keys, 30*time.Second, time.Hour)
	if len(got) != held || err != nil {
		w.t.Fatalf("extended %v, %v; want %d", got, err, held)
	}
}

// answered is a key whose call was charged, with or without its answer.
func (w *keyWorld) answered(a usage.IdempotentAnswer) ports.IdempotencyClaim {
	w.t.Helper()
	c := w.claimed()
	w.keep(c, a, true)
	w.charge(c.Event, c, ports.Recorded)
	return c
}

// atOnce makes many claims at once and returns how many had each outcome.
func (w *keyWorld) atOnce() map[ports.IdempotencyOutcome]int {
	w.t.Helper()
	var (
		mu    sync.Mutex
		found = map[ports.IdempotencyOutcome]int{}
		all   sync.WaitGroup
	)
	for range 16 {
		all.Go(func() {
			got, err := w.Idempotency.Claim(w.t.Context(), w.claim())
			if err != nil {
				w.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			found[got.Outcome]++
		})
	}
	all.Wait()
	return found
}

var whole = usage.IdempotentAnswer{
	Status: 201, Header: map[string][]string{"X": {"1", "caf\xe9: \x80"}, "Empty": {""}}, Body: []byte("body\x00"), BodyHash: []byte{7}, Kept: true,
}

// idempotencyContract holds a store of Idempotency-Keys to what the port promises.
func idempotencyContract(t *testing.T, open func(t *testing.T) ChargingWorld) {
	run := func(name string, test func(t *testing.T, w *keyWorld)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &keyWorld{ChargingWorld: open(t), t: t}
			w.consumer = w.Fund(t, money.FromStroops(1000))
			w.lease = w.mustGrant(t, w.grant(w.consumer, w.NewID(), 100, 100, 100))
			test(t, w)
			w.WantSound(t)
		})
	}
	wantEvents := func(t *testing.T, w *keyWorld, n int) {
		t.Helper()
		if events := w.Events(t); len(events) != n {
			t.Errorf("%d charges, want %d", len(events), n)
		}
	}

	run("a key is claimed by one call of many", func(t *testing.T, w *keyWorld) {
		if got := w.atOnce(); got[ports.IdempotencyClaimed] != 1 || got[ports.IdempotencyRunning] != 15 {
			t.Errorf("outcomes %v", got)
		}
	})
	run("the answer is told once its call is charged, to the byte and as often as asked", func(t *testing.T, w *keyWorld) {
		c := w.claimed()
		w.keep(c, whole, true)
		w.try(w.claim(), ports.IdempotencyRunning)
		w.charge(c.Event, c, ports.Recorded)
		w.AgeKeys(t, 50*time.Minute)
		for range 3 {
			got := w.try(w.claim(), ports.IdempotencyAnswered)
			a := got.Answer
			if got.Event != c.Event || a == nil || a.Status != 201 || !a.Kept || string(a.Body) != "body\x00" || len(a.BodyHash) != 1 {
				t.Fatalf("answer %+v of %+v", a, got)
			}
			if x := a.Header["X"]; len(x) != 2 || x[0] != "1" || x[1] != "caf\xe9: \x80" || len(a.Header["Empty"]) != 1 {
				t.Errorf("header %q", a.Header)
			}
		}
		other := w.claim()
		other.Fingerprint = []byte("GET /b")
		w.try(other, ports.IdempotencyConflict)
		other.Consumer = w.Fund(t, money.FromStroops(1))
		w.try(other, ports.IdempotencyClaimed) // another consumer's key is another key
	})
	run("an empty answer is kept too", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 204, Kept: true})
		if got := w.try(w.claim(), ports.IdempotencyAnswered); !got.Answer.Kept || len(got.Answer.Body) != 0 {
			t.Errorf("answer %+v", got.Answer)
		}
	})
	run("an answer that is not kept may be fetched again once, by one call of many", func(t *testing.T, w *keyWorld) {
		first := w.answered(usage.IdempotentAnswer{Status: 200, BodyHash: []byte{7}})
		w.AgeKeys(t, ports.FreeRepeat-5*time.Second)
		repeat := w.claim()
		got := w.try(repeat, ports.IdempotencyRepeat)
		if got.Event != first.Event || got.Answer == nil || got.Answer.Kept || len(got.Answer.BodyHash) != 1 {
			t.Errorf("state %+v", got)
		}
		if got := w.atOnce(); got[ports.IdempotencyRunning] != 16 {
			t.Errorf("beside the repeat: outcomes %v", got)
		}
		w.release(first) // long over
		w.try(w.claim(), ports.IdempotencyRunning)
		w.keep(repeat, usage.IdempotentAnswer{Status: 200}, true)
		w.release(repeat)
		w.try(w.claim(), ports.IdempotencySpent)
		wantEvents(t, w, 1)
	})
	run("many repeats at once are one", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 200})
		if got := w.atOnce(); got[ports.IdempotencyRepeat] != 1 || got[ports.IdempotencyRunning] != 15 {
			t.Errorf("outcomes %v", got)
		}
	})
	run("a repeat comes too late after its time", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 200})
		w.AgeKeys(t, ports.FreeRepeat)
		w.try(w.claim(), ports.IdempotencySpent)
	})
	run("a repeat that was not served is offered again while its time lasts", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 200})
		for range 2 {
			c := w.claim()
			w.try(c, ports.IdempotencyRepeat)
			w.release(c)
		}
		w.AgeKeys(t, ports.FreeRepeat)
		w.try(w.claim(), ports.IdempotencySpent)
	})
	run("a repeat of a node that died is used up", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 200})
		c := w.claim()
		w.try(c, ports.IdempotencyRepeat)
		w.AgeKeys(t, 31*time.Second)
		w.release(c)
		w.try(w.claim(), ports.IdempotencySpent)
	})
	run("an answer that its repeat brings is kept", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 200})
		c := w.claim()
		w.try(c, ports.IdempotencyRepeat)
		w.keep(c, whole, true)
		if got := w.try(w.claim(), ports.IdempotencyAnswered); string(got.Answer.Body) != "body\x00" {
			t.Errorf("answer %+v", got.Answer)
		}
		w.keep(c, whole, true) // again changes nothing
		wantEvents(t, w, 1)
	})
	run("a claim that is extended is not taken over", func(t *testing.T, w *keyWorld) {
		c := w.claimed()
		for range 3 {
			w.AgeKeys(t, 29*time.Second)
			w.extend(1, c)
		}
		w.AgeKeys(t, 29*time.Second)
		w.try(w.claim(), ports.IdempotencyRunning)
		w.charge(c.Event, c, ports.Recorded)
	})
	run("a repeat that is extended runs on", func(t *testing.T, w *keyWorld) {
		w.answered(usage.IdempotentAnswer{Status: 200})
		c := w.claim()
		w.try(c, ports.IdempotencyRepeat)
		for range 3 {
			w.AgeKeys(t, 29*time.Second)
			w.extend(1, c)
		}
		w.try(w.claim(), ports.IdempotencyRunning)
	})
	run("a dead call's key is taken over under its event, whatever its retention", func(t *testing.T, w *keyWorld) {
		dead := w.claimed()
		w.keep(dead, whole, true) // served, and never charged
		for _, age := range []time.Duration{30 * time.Second, 48 * time.Hour} {
			w.AgeKeys(t, age)
			other := w.claim()
			other.Fingerprint = []byte("GET /b")
			w.try(other, ports.IdempotencyConflict)
			heir := w.claim()
			if got := w.try(heir, ports.IdempotencyClaimed); got.Event != dead.Event {
				t.Errorf("the heir charges as %s, want %s", got.Event, dead.Event)
			}
			w.try(w.claim(), ports.IdempotencyRunning)
		}
	})
	run("a call that has lost its claim can do nothing more", func(t *testing.T, w *keyWorld) {
		late := w.claimed()
		w.AgeKeys(t, 31*time.Second)
		heir := w.claim()
		w.try(heir, ports.IdempotencyClaimed)
		w.extend(0, late)
		w.extend(1, late, heir)
		w.release(late)
		w.keep(late, whole, false)
		w.charge(late.Event, late, ports.ClaimLost)
		wantEvents(t, w, 0)
		w.try(w.claim(), ports.IdempotencyRunning)
		w.charge(late.Event, heir, ports.Recorded) // the heir's answer was not kept
		w.charge(late.Event, heir, ports.Recorded) // again is the same
		w.keep(late, whole, false)
		w.try(w.claim(), ports.IdempotencyRepeat)
		wantEvents(t, w, 1)
		w.wantBalance(t, w.consumer, 0, 100, 5)
	})
	run("of two calls of one key in one batch the one with the claim is charged", func(t *testing.T, w *keyWorld) {
		late := w.claimed()
		w.AgeKeys(t, 31*time.Second)
		heir := w.claim()
		w.try(heir, ports.IdempotencyClaimed)
		var batch []usage.Record
		for _, c := range []ports.IdempotencyClaim{late, heir} {
			r := w.record(t, w.consumer, w.lease, 5)
			r.ID, r.IdempotencyKey, r.IdempotencyClaim = late.Event, c.Key, c.Event
			batch = append(batch, r)
		}
		want(t, w.append(t, batch...), ports.ClaimLost, ports.Recorded)
		wantEvents(t, w, 1)
	})
	run("a charge whose key nobody claims is not recorded", func(t *testing.T, w *keyWorld) {
		c := w.claimed()
		w.release(c)
		w.charge(c.Event, c, ports.ClaimLost)
		wantEvents(t, w, 0)
	})
	run("a released key is claimed anew, a charged one is not released", func(t *testing.T, w *keyWorld) {
		c := w.claimed()
		w.release(c)
		w.release(c)
		w.keep(c, whole, false)
		w.extend(0, c)
		c = w.claim()
		if got := w.try(c, ports.IdempotencyClaimed); got.Event != c.Event {
			t.Errorf("event %s, want %s", got.Event, c.Event)
		}
		w.keep(c, whole, true)
		w.charge(c.Event, c, ports.Recorded)
		w.release(c)
		w.try(w.claim(), ports.IdempotencyAnswered)
	})
	run("a key past its retention is new, but not beside a repeat", func(t *testing.T, w *keyWorld) {
		c := w.claim()
		c.Retention = 0
		w.try(c, ports.IdempotencyClaimed)
		w.try(w.claim(), ports.IdempotencyRunning) // nor beside its call
		w.charge(c.Event, c, ports.Recorded)
		next := w.claim()
		next.Retention = 10 * time.Second
		if got := w.try(next, ports.IdempotencyClaimed); got.Event != next.Event {
			t.Errorf("event %s, want %s", got.Event, next.Event)
		}
		w.charge(next.Event, next, ports.Recorded)
		w.try(w.claim(), ports.IdempotencyRepeat)
		w.AgeKeys(t, 20*time.Second)
		w.try(w.claim(), ports.IdempotencyRunning)
		w.AgeKeys(t, 11*time.Second)
		w.claimed()
		wantEvents(t, w, 2)
	})
}
