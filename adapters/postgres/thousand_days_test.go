package postgres_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// thousandDays is a database with that many days of usage, and a pool as the node's money has it.
type thousandDays struct {
	db       *sqlx.DB
	w        portstest.ChargingWorld
	consumer id.ID
	node     id.ID
}

func newThousandDays(t *testing.T) thousandDays {
	url := dbtest.URLOfYears(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Settings: postgres.ChargingSettings()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := chargingWorld(t, db)
	return thousandDays{db, w, w.Fund(t, money.FromStroops(1<<50)), newID()}
}

func (d thousandDays) grant(t *testing.T) vault.Lease {
	t.Helper()
	l, err := d.w.Leases.Grant(t.Context(), grantOf(d.consumer, d.node, 1000))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// charges are n records on a lease, the first of a call that began days ago.
func (d thousandDays) charges(t *testing.T, l vault.Lease, n, days int) []usage.Record {
	batch := make([]usage.Record, n)
	for i := range batch {
		batch[i] = usage.Record{Event: d.w.Call(t, d.consumer, money.FromStroops(3)), LeaseID: l.ID}
	}
	old := id.FirstAt(time.Now().AddDate(0, 0, -days))
	copy(batch[0].ID[:6], old[:6])
	return batch
}

func (d thousandDays) append(t *testing.T, batch []usage.Record) {
	t.Helper()
	out, err := d.w.Journal.Append(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range out {
		if o != ports.Recorded {
			t.Fatalf("outcomes %v", out)
		}
	}
}

// steps are what a node does with charges and leases, each on what the one before left.
func (d thousandDays) steps(t *testing.T, days int) []struct {
	name string
	do   func()
} {
	var l vault.Lease
	var batch []usage.Record
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	next := newID()
	return []struct {
		name string
		do   func()
	}{
		{"a grant", func() { l = d.grant(t) }},
		{"an append", func() { batch = d.charges(t, l, 100, days); d.append(t, batch) }},
		{"the same again", func() { d.append(t, batch) }},
		{"a void", func() {
			kept, err := d.w.Journal.Void(t.Context(), batch[:2])
			if err != nil || len(kept) != 0 {
				t.Error(kept, err)
			}
		}},
		{"a renewal", func() {
			_, err := d.w.Leases.Renew(t.Context(), d.node, []id.ID{l.ID}, time.Minute)
			check(err)
		}},
		{"a return", func() {
			check(d.w.Leases.Return(t.Context(), d.node, []ports.LeasePart{{Lease: l.ID, Keep: money.FromStroops(500)}}))
		}},
		{"a replacement", func() {
			r := ports.LeaseReplacement{Lease: l.ID, Successor: next, Need: money.FromStroops(10)}
			_, err := d.w.Succession.Replace(t.Context(), d.node, []ports.LeaseReplacement{r}, time.Minute)
			check(err)
		}},
		{"a close", func() { check(d.w.Leases.Close(t.Context(), d.node, []id.ID{next})) }},
		{"an expiry pass", func() {
			_, err := d.w.Expiry.ExpireLeases(t.Context(), 100)
			check(err)
		}},
		{"a revenue pass", func() {
			if n, err := d.w.Revenue.IndexRevenue(t.Context(), 1000); n != 98 || err != nil {
				t.Errorf("booked %d, %v; want 98", n, err)
			}
		}},
	}
}

func TestAThousandDaysOfUsage(t *testing.T) {
	t.Parallel()
	d := newThousandDays(t)
	t.Run("do not slow charging", d.quick)
	t.Run("are not locked for charging", d.fewLocks)
	for _, s := range d.steps(t, 700) { // a lease with a very old call
		s.do()
	}
	d.w.WantSound(t)
}

func (d thousandDays) quick(t *testing.T) {
	best := map[string]time.Duration{}
	for range 6 { // the first fills the connection's caches; of the rest the best, as others use the machine too
		for _, s := range d.steps(t, 0) {
			start := time.Now()
			s.do()
			if took := time.Since(start); best[s.name] == 0 || took < best[s.name] {
				best[s.name] = took
			}
		}
	}
	for name, took := range best {
		t.Logf("%-15s %s", name, took)
		if took > 50*time.Millisecond {
			t.Errorf("%s takes %s", name, took)
		}
	}
}

// While a partition that they need is locked, they wait for it with all other locks that they take.
func (d thousandDays) fewLocks(t *testing.T) {
	const most = 60
	for _, s := range d.steps(t, 1) {
		switch s.name {
		case "an append", "a void", "a revenue pass":
		default:
			s.do()
			continue
		}
		gate := d.db.MustBegin()
		gate.MustExec(`LOCK TABLE usage_events_` + time.Now().UTC().Format("20060102") + ` IN ACCESS EXCLUSIVE MODE`)
		var run sync.WaitGroup
		run.Go(s.do)
		awaitLockWaits(t, d.db, 1)
		var locks int
		const held = `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE a.datname = current_database() AND a.wait_event_type = 'Lock'`
		if err := d.db.Get(&locks, held); err != nil {
			t.Error(err)
		}
		if err := gate.Rollback(); err != nil {
			t.Error(err)
		}
		run.Wait()
		t.Logf("%-15s %d locks", s.name, locks)
		if locks > most {
			t.Errorf("%s takes %d locks, want at most %d", s.name, locks, most)
		}
	}
}
