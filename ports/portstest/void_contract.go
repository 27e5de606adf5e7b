package portstest

import (
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// voidContract holds a journal to what it promises of voids.
func voidContract(run func(name string, test func(t *testing.T, w ChargingWorld))) {
	void := func(t *testing.T, w ChargingWorld, stay []id.ID, batch ...usage.Record) {
		t.Helper()
		kept, err := w.Journal.Void(t.Context(), batch)
		if err != nil || len(kept) != len(stay) {
			t.Fatalf("%v stay, %v; want %v", kept, err, stay)
		}
		for i := range kept {
			if kept[i] != stay[i] {
				t.Fatalf("%v stay, want %v", kept, stay)
			}
		}
	}
	closed := func(t *testing.T, w ChargingWorld, node id.ID, lease id.ID) {
		t.Helper()
		if err := w.Leases.Close(t.Context(), node, []id.ID{lease}); err != nil {
			t.Fatal(err)
		}
	}
	booked := func(t *testing.T, w ChargingWorld, limit, rows int) {
		t.Helper()
		if n, err := w.Revenue.IndexRevenue(t.Context(), limit); n != rows || err != nil {
			t.Fatalf("booked %d, %v; want %d", n, err, rows)
		}
	}

	run("a voided record leaves no trace", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		gone, never, stays := w.record(t, c, l, 3), w.record(t, c, l, 5), w.record(t, c, l, 7)
		w.append(t, gone, stays)
		for range 2 { // twice changes nothing
			void(t, w, nil, gone, never)
			w.wantBalance(t, c, 0, 100, 7)
		}
		if got := w.Events(t); len(got) != 1 {
			t.Errorf("events %v", got)
		}
	})
	run("what was sent before a void is refused after it", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l, other := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		late, beside, elsewhere := w.record(t, c, l, 3), w.record(t, c, l, 5), w.record(t, c, other, 7)
		void(t, w, nil, late)
		void(t, w, nil, late)
		want(t, w.append(t, late, beside, elsewhere), ports.Fenced, ports.Fenced, ports.Recorded)
		beside.Epoch++
		want(t, w.append(t, late, beside), ports.Fenced, ports.Recorded)
		beside.Epoch-- // it is on disk, whatever is asked again
		want(t, w.append(t, beside), ports.Recorded)
		w.wantBalance(t, c, 0, 200, 12)
	})
	run("a record on a closed lease is voided until it is booked", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		first, second, third := w.record(t, c, l, 3), w.record(t, c, l, 5), w.record(t, c, l, 7)
		w.append(t, first, second, third)
		closed(t, w, node, l.ID)
		for range 2 {
			void(t, w, nil, second)
			w.wantBalance(t, c, 10, 0, 0)
		}
		w.WantSound(t)
		booked(t, w, 10, 2)
		void(t, w, []id.ID{first.ID}, first, second)
		w.wantBalance(t, c, 10, 0, 0)
	})
	run("a closed lease of which all is voided needs no booking", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		r := w.record(t, c, l, 3)
		w.append(t, r)
		closed(t, w, node, l.ID)
		void(t, w, nil, r)
		w.wantBalance(t, c, 0, 0, 0)
		booked(t, w, 10, 0)
	})
	run("a lease is booked whole, and nothing of it is voided then", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		r := w.record(t, c, l, 3)
		again := r
		again.ID = w.NewID()
		w.append(t, r, again)
		closed(t, w, node, l.ID)
		booked(t, w, 1, 2)
		kept, err := w.Journal.Void(t.Context(), []usage.Record{r, again})
		if err != nil || len(kept) != 2 {
			t.Fatalf("%v stay, %v; want both", kept, err)
		}
		w.wantBalance(t, c, 6, 0, 0)
		booked(t, w, 10, 0)
	})
	run("a record that was sent with two leases is voided with both", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l, next := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		r := w.record(t, c, l, 3)
		again := r
		again.LeaseID = next.ID
		want(t, w.append(t, r, again), ports.Recorded, ports.Duplicate)
		void(t, w, nil, r, again)
		want(t, w.append(t, r, again), ports.Fenced, ports.Fenced)
		w.wantBalance(t, c, 0, 200, 0)
	})
	run("another call's charge for the same event is not voided", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l, other := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, w.NewID(), 100, 100, 100))
		r := w.record(t, c, other, 3)
		w.append(t, r)
		r.LeaseID = l.ID
		void(t, w, nil, r)
		w.wantBalance(t, c, 0, 200, 3)
	})
	run("an Idempotency-Key is answered with the event, and given up with it", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		claim := func(key string, outcome ports.IdempotencyOutcome) id.ID {
			t.Helper()
			got, err := w.Idempotency.Claim(t.Context(), ports.IdempotencyClaim{
				Consumer: c, Key: key, Fingerprint: []byte("f"), Event: w.NewID(), Lease: time.Minute, Retention: time.Hour,
			})
			if err != nil || got.Outcome != outcome {
				t.Fatalf("%s: outcome %d, %v; want %d", key, got.Outcome, err, outcome)
			}
			return got.Event
		}
		keys := []string{"charged", `of "quotes", {braces} and \ ü`}
		var batch []usage.Record
		for _, key := range keys {
			r := w.record(t, c, l, 3)
			r.ID, r.IdempotencyKey = claim(key, ports.IdempotencyClaimed), key
			r.IdempotencyClaim = r.ID
			batch = append(batch, r)
		}
		unheard := w.record(t, c, l, 3) // its key belongs to another call by now
		unheard.IdempotencyKey, unheard.IdempotencyClaim = "running", unheard.ID
		claim("running", ports.IdempotencyClaimed)
		for range 2 {
			want(t, w.append(t, append(batch, unheard)...), ports.Recorded, ports.Recorded, ports.ClaimLost)
		}
		claim("running", ports.IdempotencyRunning)
		void(t, w, nil, batch[1], unheard)
		claim(keys[0], ports.IdempotencyRepeat) // it is charged, and no answer was kept
		claim(keys[1], ports.IdempotencyClaimed)
		claim("running", ports.IdempotencyRunning)
	})
}
