package postgres_test

import (
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// The first attempt is kept in its middle, as when its commit hangs, and its node asks again.
func TestAGrantThatIsAskedAgainWaitsForTheFirstAttempt(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	w := chargingWorld(t, db)
	c := w.Fund(t, money.FromStroops(100)) // for one of them
	gate := db.MustBegin()
	t.Cleanup(func() { _ = gate.Rollback() })
	gate.MustExec(`SELECT id FROM vaults FOR UPDATE`)

	first := grantOf(c, newID(), 100)
	again := first
	again.Again = true
	var leases [2]vault.Lease
	var both sync.WaitGroup
	for i, g := range []ports.LeaseGrant{first, again} {
		both.Go(func() {
			var err error
			if leases[i], err = w.Leases.Grant(t.Context(), g); err != nil {
				t.Errorf("attempt %d: %v", i+1, err)
			}
		})
		awaitLockWaits(t, db, i+1)
	}
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if leases[0].ID != leases[1].ID || leases[0].Granted != leases[1].Granted {
		t.Errorf("granted %+v", leases)
	}
	if b := w.Balance(t, c); b.Held.Stroops() != 100 {
		t.Errorf("%s is held", b.Held)
	}
	w.WantSound(t)
}

// oldLease is a lease with a charge on it and money reserved by a stream.
func oldLease(t *testing.T) (d *doubt, node id.ID, r ports.LeaseReplacement) {
	t.Helper()
	d = newDoubt(t)
	if err := d.db.Get(&node, `SELECT node_id FROM leases`); err != nil {
		t.Fatal(err)
	}
	return d, node, ports.LeaseReplacement{Lease: d.told.LeaseID, Successor: newID(), Need: money.FromStroops(20)}
}

func (d *doubt) replace(t *testing.T, node id.ID, r ports.LeaseReplacement) {
	open, err := d.w.Succession.Replace(t.Context(), node, []ports.LeaseReplacement{r}, time.Minute)
	if err != nil || len(open) != 1 || open[0].ID != r.Successor || open[0].Granted != r.Need {
		t.Errorf("the successors are %+v, %v", open, err)
	}
}

func TestALeaseThatIsReplacedAgainIsReplacedOnce(t *testing.T) {
	t.Parallel()
	d, node, r := oldLease(t)
	d.append(t, ports.Recorded, ports.Recorded)
	d.gate.MustExec(`SELECT id FROM vaults FOR UPDATE`) // the first attempt has the lease, and waits for its vault
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() { d.replace(t, node, r) })
		awaitLockWaits(t, d.db, i+1)
	}
	if err := d.gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if b := d.w.Balance(t, d.told.UserID); b.Uncollected.Stroops() != 8 || b.Held.Stroops() != 20 {
		t.Errorf("%s is held and %s uncollected", b.Held, b.Uncollected)
	}
	d.w.WantSound(t)
}

func TestALeaseIsReplacedAfterTheAppendThatIsUnderWay(t *testing.T) {
	t.Parallel()
	d, node, r := oldLease(t)
	d.gate.MustExec(`INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		VALUES ($1, $2, $2, $2, $2, 0, 200, 0, now())`, d.blocked.ID, newID())
	var both sync.WaitGroup
	both.Go(func() { d.append(t, ports.Recorded, ports.Recorded) })
	awaitLockWaits(t, d.db, 1)
	both.Go(func() { d.replace(t, node, r) })
	awaitLockWaits(t, d.db, 2)
	if err := d.gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if b := d.w.Balance(t, d.told.UserID); b.Uncollected.Stroops() != 8 || b.Held.Stroops() != 20 {
		t.Errorf("%s is held and %s uncollected", b.Held, b.Uncollected)
	}
	d.w.WantSound(t)
}

// An append that waits for the replacement finds its lease closed; sent again with the successor it is charged there.
func TestAnAppendBesideAReplacementIsChargedToTheSuccessor(t *testing.T) {
	t.Parallel()
	d, node, r := oldLease(t)
	d.gate.MustExec(`SELECT id FROM vaults FOR UPDATE`)
	var both sync.WaitGroup
	both.Go(func() { d.replace(t, node, r) })
	awaitLockWaits(t, d.db, 1)
	both.Go(func() { d.append(t, ports.Fenced, ports.Fenced) })
	awaitLockWaits(t, d.db, 2)
	if err := d.gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	sent := []usage.Record{d.told, d.blocked}
	d.told.LeaseID, d.blocked.LeaseID = r.Successor, r.Successor
	d.append(t, ports.Recorded, ports.Recorded)
	d.wantCharged(t, d.told, d.blocked)

	// its caller gave up: whichever lease it was sent with, it is not charged
	if kept, err := d.w.Journal.Void(t.Context(), []usage.Record{sent[0], d.told}); err != nil || len(kept) != 0 {
		t.Errorf("the void leaves %v, %v", kept, err)
	}
	d.wantCharged(t, d.blocked)
}

// What a node gives back twice, and closes twice, because an answer was lost, waits for the first attempt and changes nothing.
func TestWhatANodeAsksAgainOfALeaseHappensOnce(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(t *testing.T, d *doubt, node id.ID) error{
		"given back": func(t *testing.T, d *doubt, node id.ID) error {
			return d.w.Leases.Return(t.Context(), node, []ports.LeasePart{{Lease: d.told.LeaseID, Keep: money.FromStroops(60)}})
		},
		"closed": func(t *testing.T, d *doubt, node id.ID) error {
			return d.w.Leases.Close(t.Context(), node, []id.ID{d.told.LeaseID})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, node, _ := oldLease(t)
			d.append(t, ports.Recorded, ports.Recorded)
			d.gate.MustExec(`SELECT id FROM vaults FOR UPDATE`)
			var both sync.WaitGroup
			for i := range 2 {
				both.Go(func() {
					if err := ask(t, d, node); err != nil {
						t.Error(err)
					}
				})
				awaitLockWaits(t, d.db, i+1)
			}
			if err := d.gate.Rollback(); err != nil {
				t.Fatal(err)
			}
			both.Wait()
			d.w.WantSound(t)
			b := d.w.Balance(t, d.told.UserID)
			if sum := b.Held.Stroops() + b.Uncollected.Stroops(); sum != map[string]int64{"given back": 60, "closed": 8}[name] {
				t.Errorf("%s is held and %s uncollected", b.Held, b.Uncollected)
			}
		})
	}
}
