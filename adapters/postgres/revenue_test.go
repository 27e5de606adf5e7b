package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// One node is kept in the middle of its page by a row of another transaction. Two that book the same calls would count
// them twice, and find the lease's revenue to be more than it used.
func TestALeaseThatANodeIndexesIsLeftToIt(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	w := chargingWorld(t, db)
	c, node := w.Fund(t, money.FromStroops(1000)), newID()
	l, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100))
	if err != nil {
		t.Fatal(err)
	}
	paid := usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}
	if _, err := w.Journal.Append(t.Context(), []usage.Record{paid}); err != nil {
		t.Fatal(err)
	}
	if err := w.Leases.Close(t.Context(), node, []id.ID{l.ID}); err != nil {
		t.Fatal(err)
	}
	gate := db.MustBegin()
	t.Cleanup(func() { _ = gate.Rollback() })
	gate.MustExec(`INSERT INTO revenue (lease_id, api_id, developer_id, user_id, calls, amount, first_event, last_event, earned_at)
		VALUES ($1, $2, $3, $3, 1, 3, $4, $4, now())`, l.ID, paid.APIID, newID(), paid.ID)

	var first sync.WaitGroup
	first.Go(func() {
		if n, err := w.Revenue.IndexRevenue(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("the first booked %d, %v; want 1", n, err)
		}
	})
	awaitLockWaits(t, db, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if n, err := w.Revenue.IndexRevenue(ctx, 10); n != 0 || err != nil {
		t.Errorf("the second booked %d, %v; want none, without waiting", n, err)
	}
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	first.Wait()
	w.WantSound(t)
}
