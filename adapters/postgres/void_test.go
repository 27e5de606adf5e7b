package postgres_test

import (
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// doubt is a charge whose node does not know what became of it, and a gate that keeps statements in their middle.
type doubt struct {
	db            *sqlx.DB
	w             portstest.ChargingWorld
	told, blocked usage.Record // told: its caller was told that it is not charged
	gate          *sqlx.Tx
}

func newDoubt(t *testing.T) *doubt {
	db := dbtest.New(t)
	w := chargingWorld(t, db)
	c := w.Fund(t, money.FromStroops(1000))
	l, err := w.Leases.Grant(t.Context(), grantOf(c, newID(), 100))
	if err != nil {
		t.Fatal(err)
	}
	d := &doubt{db: db, w: w, gate: db.MustBegin()}
	t.Cleanup(func() { _ = d.gate.Rollback() })
	d.told = usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}
	d.blocked = usage.Record{Event: w.Call(t, c, money.FromStroops(5)), LeaseID: l.ID}
	return d
}

func (d *doubt) append(t *testing.T, outcomes ...ports.RecordOutcome) {
	got, err := d.w.Journal.Append(t.Context(), []usage.Record{d.told, d.blocked})
	if err != nil || got[0] != outcomes[0] || got[1] != outcomes[1] {
		t.Errorf("the append says %v, %v; want %v", got, err, outcomes)
	}
}

func (d *doubt) void(t *testing.T) {
	if kept, err := d.w.Journal.Void(t.Context(), []usage.Record{d.told}); err != nil || len(kept) != 0 {
		t.Errorf("the void leaves %v, %v; want none", kept, err)
	}
}

// wantCharged checks what is on disk when both are through.
func (d *doubt) wantCharged(t *testing.T, records ...usage.Record) {
	t.Helper()
	events, sum := d.w.Events(t), int64(0)
	for _, r := range records {
		if _, ok := events[r.ID]; !ok {
			t.Error("an event is missing")
		}
		sum += r.Amount.Stroops()
	}
	if b := d.w.Balance(t, d.told.UserID); len(events) != len(records) || b.HeldUsed.Stroops() != sum {
		t.Errorf("%d events for %d stroops; want %d for %d", len(events), b.HeldUsed.Stroops(), len(records), sum)
	}
	d.w.WantSound(t)
}

// The append has written its first event and waits with the second: its transaction is open, as when its commit hangs.
func TestAVoidWaitsForTheAppendThatIsUnderWay(t *testing.T) {
	t.Parallel()
	d := newDoubt(t)
	d.gate.MustExec(`INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		VALUES ($1, $2, $2, $2, $2, 0, 200, 0, now())`, d.blocked.ID, newID())
	var both sync.WaitGroup
	both.Go(func() { d.append(t, ports.Recorded, ports.Recorded) })
	awaitLockWaits(t, d.db, 1)
	both.Go(func() { d.void(t) })
	awaitLockWaits(t, d.db, 2)
	if err := d.gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	d.wantCharged(t, d.blocked)
}

// The void has the lease and waits in its middle; the append took its snapshot before the void's end.
func TestAnAppendThatWaitsForAVoidIsRefused(t *testing.T) {
	t.Parallel()
	d := newDoubt(t)
	d.append(t, ports.Recorded, ports.Recorded)
	d.gate.MustExec(`SELECT id FROM usage_events WHERE id = $1 FOR UPDATE`, d.told.ID)
	var both sync.WaitGroup
	both.Go(func() { d.void(t) })
	awaitLockWaits(t, d.db, 1)
	both.Go(func() { d.append(t, ports.Fenced, ports.Recorded) })
	awaitLockWaits(t, d.db, 2)
	if err := d.gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	d.wantCharged(t, d.blocked)
}

func TestAnAppendThatCommittedBeforeTheVoidIsVoided(t *testing.T) {
	t.Parallel()
	d := newDoubt(t)
	d.append(t, ports.Recorded, ports.Recorded)
	d.void(t)
	d.append(t, ports.Fenced, ports.Recorded)
	d.wantCharged(t, d.blocked)
}

func TestAnAppendThatArrivesAfterTheVoidIsRefused(t *testing.T) {
	t.Parallel()
	d := newDoubt(t)
	d.void(t)
	d.append(t, ports.Fenced, ports.Fenced)
	d.told.Epoch, d.blocked.Epoch = 1, 1 // the node's later batches
	d.append(t, ports.Recorded, ports.Recorded)
	d.wantCharged(t, d.told, d.blocked)
}
