package postgres_test

import (
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// A statement takes its snapshot, then waits for the lease that the expiry pass is just closing. What it finds when it has
// the row decides, not what the snapshot says.
func TestWhatMeetsTheExpiryPassFindsTheLeaseClosed(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]func(t *testing.T, w portstest.ChargingWorld, node id.ID, paid, next usage.Record){
		"a charge is fenced": func(t *testing.T, w portstest.ChargingWorld, _ id.ID, _, next usage.Record) {
			got, err := w.Journal.Append(t.Context(), []usage.Record{next})
			if err != nil || got[0] != ports.Fenced {
				t.Errorf("the charge is %v, %v; want fenced", got, err)
			}
		},
		"a charge with an Idempotency-Key is fenced": func(t *testing.T, w portstest.ChargingWorld, _ id.ID, _, next usage.Record) {
			claim := ports.IdempotencyClaim{
				Consumer: next.UserID, Key: "key", Event: next.ID, Fingerprint: []byte("print"), Lease: time.Minute, Retention: time.Hour,
			}
			if got, err := w.Idempotency.Claim(t.Context(), claim); err != nil || got.Outcome != ports.IdempotencyClaimed {
				t.Errorf("the key is %+v, %v", got, err)
			}
			next.IdempotencyKey, next.IdempotencyClaim = claim.Key, claim.Event
			got, err := w.Journal.Append(t.Context(), []usage.Record{next})
			if err != nil || got[0] != ports.Fenced {
				t.Errorf("the charge is %v, %v; want fenced", got, err)
			}
		},
		"a charge is voided, and its vault owes it no more": func(t *testing.T, w portstest.ChargingWorld, _ id.ID, paid, _ usage.Record) {
			if kept, err := w.Journal.Void(t.Context(), []usage.Record{paid}); err != nil || len(kept) != 0 {
				t.Errorf("%v stay, %v; want none", kept, err)
			}
		},
		"money given back is not freed again": func(t *testing.T, w portstest.ChargingWorld, node id.ID, paid, _ usage.Record) {
			part := ports.LeasePart{Lease: paid.LeaseID, Keep: money.FromStroops(60)}
			if err := w.Leases.Return(t.Context(), node, []ports.LeasePart{part}); err != nil {
				t.Error(err)
			}
		},
		"a lease is not renewed": func(t *testing.T, w portstest.ChargingWorld, node id.ID, paid, _ usage.Record) {
			open, err := w.Leases.Renew(t.Context(), node, []id.ID{paid.LeaseID}, time.Minute)
			if err != nil || len(open) != 0 {
				t.Errorf("%v are renewed, %v; want none", open, err)
			}
		},
		"a lease is not replaced": func(t *testing.T, w portstest.ChargingWorld, node id.ID, paid, _ usage.Record) {
			r := ports.LeaseReplacement{Lease: paid.LeaseID, Successor: newID(), Need: money.FromStroops(40)}
			open, err := w.Succession.Replace(t.Context(), node, []ports.LeaseReplacement{r}, time.Minute)
			if err != nil || len(open) != 0 {
				t.Errorf("%v succeed it, %v; want none", open, err)
			}
		},
		"a lease is not ended again": func(t *testing.T, w portstest.ChargingWorld, node id.ID, paid, _ usage.Record) {
			if err := w.Leases.Close(t.Context(), node, []id.ID{paid.LeaseID}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := dbtest.New(t)
			w := chargingWorld(t, db)
			c, node := w.Fund(t, money.FromStroops(1000)), newID()
			l, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100))
			if err != nil {
				t.Fatal(err)
			}
			paid := usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}
			next := usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}
			if _, err := w.Journal.Append(t.Context(), []usage.Record{paid}); err != nil {
				t.Fatal(err)
			}
			w.Age(t)
			gate := db.MustBegin()
			t.Cleanup(func() { _ = gate.Rollback() })
			gate.MustExec(`SELECT id FROM vaults FOR UPDATE`)

			var both sync.WaitGroup
			both.Go(func() { // holds the lease, and waits for its vault
				if n, err := w.Expiry.ExpireLeases(t.Context(), 10); n != 1 || err != nil {
					t.Errorf("%d leases expired, %v; want 1", n, err)
				}
			})
			awaitLockWaits(t, db, 1)
			both.Go(func() { late(t, w, node, paid, next) }) // waits for the lease
			awaitLockWaits(t, db, 2)
			if err := gate.Rollback(); err != nil {
				t.Fatal(err)
			}
			both.Wait()

			w.WantSound(t)
			var owed money.Amount
			for _, amount := range w.Events(t) {
				owed = amount
			}
			if b := w.Balance(t, c); !b.Held.IsZero() || b.Uncollected != owed {
				t.Errorf("%s is held and %s uncollected; want none and %s", b.Held, b.Uncollected, owed)
			}
		})
	}
}
