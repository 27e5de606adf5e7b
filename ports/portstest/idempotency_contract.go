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

// idempotencyContract holds a store of Idempotency-Keys to what the port promises.
func idempotencyContract(t *testing.T, open func(t *testing.T) ChargingWorld) {
	claim := func(w ChargingWorld, consumer id.ID) ports.IdempotencyClaim {
		return ports.IdempotencyClaim{
			Consumer: consumer, Key: "k", Fingerprint: []byte("GET /a"), Event: w.NewID(), Hold: time.Minute, Retention: time.Hour,
		}
	}
	try := func(t *testing.T, w ChargingWorld, c ports.IdempotencyClaim, outcome ports.IdempotencyOutcome) ports.IdempotencyState {
		t.Helper()
		got, err := w.Idempotency.Claim(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if got.Outcome != outcome {
			t.Fatalf("outcome %d, want %d", got.Outcome, outcome)
		}
		return got
	}
	charge := func(t *testing.T, w ChargingWorld, c ports.IdempotencyClaim, l vault.Lease, a usage.IdempotentAnswer) {
		t.Helper()
		r := w.record(t, c.Consumer, l, 5)
		r.ID = c.Event
		r.Idempotent = &a
		want(t, w.append(t, r), ports.Recorded)
	}

	t.Run("a key is claimed by one call of many", func(t *testing.T) {
		t.Parallel()
		w := open(t)
		consumer := w.Fund(t, money.FromStroops(100))
		outcomes := make([]ports.IdempotencyOutcome, 16)
		var wg sync.WaitGroup
		for i := range outcomes {
			wg.Go(func() {
				got, err := w.Idempotency.Claim(t.Context(), claim(w, consumer))
				if err != nil {
					t.Error(err)
				}
				outcomes[i] = got.Outcome
			})
		}
		wg.Wait()
		claimed := 0
		for _, o := range outcomes {
			if o == ports.IdempotencyClaimed {
				claimed++
			} else if o != ports.IdempotencyRunning {
				t.Errorf("outcome %d", o)
			}
		}
		if claimed != 1 {
			t.Errorf("%d calls claimed the key", claimed)
		}
	})
	t.Run("the answer is kept with the charge and told to retries", func(t *testing.T) {
		t.Parallel()
		w := open(t)
		consumer, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(consumer, node, 10, 10, 10))
		c := claim(w, consumer)
		try(t, w, c, ports.IdempotencyClaimed)
		charge(t, w, c, l, usage.IdempotentAnswer{
			Key: "k", Status: 201, Header: map[string][]string{"X": {"1", "2"}}, Body: []byte{}, BodyHash: []byte{7}, Kept: true,
		})
		retry := claim(w, consumer)
		got := try(t, w, retry, ports.IdempotencyAnswered)
		a := got.Answer
		if got.Event != c.Event || a == nil || a.Status != 201 || len(a.Header["X"]) != 2 || !a.Kept || len(a.Body) != 0 || len(a.BodyHash) != 1 {
			t.Errorf("answer %+v of %+v", a, got)
		}
		retry.Fingerprint = []byte("GET /b")
		try(t, w, retry, ports.IdempotencyConflict)
		other := claim(w, w.Fund(t, money.FromStroops(1)))
		try(t, w, other, ports.IdempotencyClaimed) // another consumer's key is another key
		w.WantSound(t)
	})
	t.Run("an answer too large to keep is fetched again three times for free", func(t *testing.T) {
		t.Parallel()
		w := open(t)
		consumer, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(consumer, node, 10, 10, 10))
		c := claim(w, consumer)
		try(t, w, c, ports.IdempotencyClaimed)
		charge(t, w, c, l, usage.IdempotentAnswer{Key: "k", Status: 200})
		for range 3 {
			if got := try(t, w, claim(w, consumer), ports.IdempotencyAnswered); got.Answer.Kept || got.Event != c.Event {
				t.Errorf("state %+v", got)
			}
		}
		try(t, w, claim(w, consumer), ports.IdempotencySpent)
	})
	t.Run("an abandoned claim is taken over under the same event", func(t *testing.T) {
		t.Parallel()
		w := open(t)
		c := claim(w, w.Fund(t, money.FromStroops(1)))
		c.Hold = 0
		try(t, w, c, ports.IdempotencyClaimed)
		heir := c
		heir.Event, heir.Hold = w.NewID(), time.Minute
		if got := try(t, w, heir, ports.IdempotencyClaimed); got.Event != c.Event {
			t.Errorf("the heir charges under %s, want %s", got.Event, c.Event)
		}
		if err := w.Idempotency.Forget(t.Context(), c.Consumer, c.Key, c.Event); err != nil { // the first one comes back
			t.Fatal(err)
		}
		try(t, w, claim(w, c.Consumer), ports.IdempotencyRunning)
	})
	t.Run("a forgotten key can be claimed anew, an answered one is not forgotten", func(t *testing.T) {
		t.Parallel()
		w := open(t)
		consumer, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(consumer, node, 10, 10, 10))
		c := claim(w, consumer)
		try(t, w, c, ports.IdempotencyClaimed)
		for range 2 {
			if err := w.Idempotency.Forget(t.Context(), consumer, c.Key, c.Event); err != nil {
				t.Fatal(err)
			}
		}
		c = claim(w, consumer)
		if got := try(t, w, c, ports.IdempotencyClaimed); got.Event != c.Event {
			t.Errorf("event %s, want %s", got.Event, c.Event)
		}
		charge(t, w, c, l, usage.IdempotentAnswer{Key: "k", Status: 200, Kept: true, Body: []byte("x")})
		if err := w.Idempotency.Forget(t.Context(), consumer, c.Key, c.Event); err != nil {
			t.Fatal(err)
		}
		try(t, w, claim(w, consumer), ports.IdempotencyAnswered)
	})
	t.Run("a key past its retention is new", func(t *testing.T) {
		t.Parallel()
		w := open(t)
		c := claim(w, w.Fund(t, money.FromStroops(1)))
		c.Retention = 0
		try(t, w, c, ports.IdempotencyClaimed)
		next := claim(w, c.Consumer)
		if got := try(t, w, next, ports.IdempotencyClaimed); got.Event != next.Event {
			t.Errorf("event %s, want %s", got.Event, next.Event)
		}
	})
}
