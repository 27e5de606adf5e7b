package postgres_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// What events of a batch share is sent once. Every event comes to rest with what is its own, whether all of them are new or
// some are there already.
func TestABatchIsStoredAsItWasSent(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	w := chargingWorld(t, db)
	sent, used := map[id.ID]usage.Record{}, map[id.ID]int64{}
	consumers, leases := make([]id.ID, 3), make([]id.ID, 3)
	for i := range consumers {
		consumers[i] = w.Fund(t, money.FromStroops(1_000_000))
		l, err := w.Leases.Grant(t.Context(), grantOf(consumers[i], newID(), 1_000_000))
		if err != nil {
			t.Fatal(err)
		}
		leases[i] = l.ID
	}
	some := [4]id.ID{newID(), newID(), newID(), newID()}
	record := func() usage.Record {
		payer := rand.N(len(consumers))
		r := usage.Record{LeaseID: leases[payer], Event: usage.Event{
			ID: newID(), UserID: consumers[payer], APIID: some[rand.N(4)], EndpointID: some[rand.N(4)], KeyID: some[rand.N(4)],
			Amount: money.FromStroops(rand.Int64N(1000)), Status: 200 + rand.N(100), Latency: time.Duration(rand.N(5000)) * time.Microsecond,
			OccurredAt: time.UnixMilli(1_800_000_000_000 + rand.Int64N(1e9)).UTC(),
		}}
		if rand.N(4) == 0 { // a free call
			r.LeaseID, r.Amount = id.ID{}, money.Amount{}
		}
		return r
	}
	var before []usage.Record
	for round := range 6 {
		var batch []usage.Record
		for range 40 {
			batch = append(batch, record())
		}
		for _, r := range batch {
			sent[r.ID] = r
			used[r.LeaseID] += r.Amount.Stroops()
		}
		fresh := batch
		if round%2 == 1 { // some of it again, in between
			batch = slices.Concat(fresh[:20], before[10:30], fresh[20:])
		}
		outcomes, err := w.Journal.Append(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range outcomes {
			if o != ports.Recorded {
				t.Errorf("round %d: record %d is %v", round, i, o)
			}
		}
		before = fresh
	}

	for event, r := range recordsIn(t, db) {
		if r != sent[event] {
			t.Errorf("stored: %+v\nsent:   %+v", r, sent[event])
		}
		delete(sent, event)
	}
	if len(sent) > 0 {
		t.Errorf("%d events are not stored", len(sent))
	}
	for _, l := range leases {
		var spent int64
		if err := db.GetContext(t.Context(), &spent, `SELECT used FROM leases WHERE id = $1`, l); err != nil || spent != used[l] {
			t.Errorf("a lease has used %d, %v; want %d", spent, err, used[l])
		}
	}
	w.WantSound(t)
}

func recordsIn(t *testing.T, db *sqlx.DB) map[id.ID]usage.Record {
	t.Helper()
	var rows []struct {
		ID         id.ID     `db:"id"`
		LeaseID    *id.ID    `db:"lease_id"`
		UserID     id.ID     `db:"user_id"`
		APIID      id.ID     `db:"api_id"`
		EndpointID id.ID     `db:"endpoint_id"`
		KeyID      id.ID     `db:"api_key_id"`
		Amount     int64     `db:"amount"`
		Status     int       `db:"status_code"`
		LatencyUS  int64     `db:"latency_us"`
		OccurredAt time.Time `db:"occurred_at"`
	}
	if err := db.SelectContext(t.Context(), &rows, `SELECT * FROM usage_events`); err != nil {
		t.Fatal(err)
	}
	records := map[id.ID]usage.Record{}
	for _, s := range rows {
		r := usage.Record{Event: usage.Event{
			ID: s.ID, UserID: s.UserID, APIID: s.APIID, EndpointID: s.EndpointID, KeyID: s.KeyID, Amount: money.FromStroops(s.Amount),
			Status: s.Status, Latency: time.Duration(s.LatencyUS) * time.Microsecond, OccurredAt: s.OccurredAt.UTC(),
		}}
		if s.LeaseID != nil {
			r.LeaseID = *s.LeaseID
		}
		records[s.ID] = r
	}
	return records
}

// The usual statement writes all or nothing, so a batch with one record that cannot be written is not lost with it.
func TestOneFencedRecordKeepsNoOtherBack(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	w := chargingWorld(t, db)
	c, node := w.Fund(t, money.FromStroops(1000)), newID()
	open, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100))
	if err != nil {
		t.Fatal(err)
	}
	ended, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Leases.Close(t.Context(), node, []id.ID{ended.ID}); err != nil {
		t.Fatal(err)
	}
	call := func(lease id.ID, stroops int64) usage.Record {
		return usage.Record{Event: w.Call(t, c, money.FromStroops(stroops)), LeaseID: lease}
	}
	early := call(open.ID, 7)
	early.Epoch = 1 // of a void that the database has not seen
	batch := []usage.Record{call(open.ID, 3), call(ended.ID, 5), call(id.ID{}, 0), early, call(open.ID, 4)}
	got, err := w.Journal.Append(t.Context(), batch)
	if want := []ports.RecordOutcome{ports.Recorded, ports.Fenced, ports.Recorded, ports.Fenced, ports.Recorded}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if n := len(w.Events(t)); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
	var bounds int
	if err := db.Get(&bounds, `SELECT count(*) FROM leases WHERE id = $1 AND first_event <= $2 AND last_event >= $3`, open.ID, batch[0].ID, batch[4].ID); err != nil || bounds != 1 {
		t.Errorf("the lease does not know the bounds of its events: %v", err)
	}
	w.WantSound(t)
}

// Appends and renewals lock the same leases at the same time. Both go in the order of ids, also where the table is so small
// that reading all of it would be cheaper.
func TestAppendsAndRenewalsLockLeasesInOneOrder(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Settings: postgres.ChargingSettings()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := chargingWorld(t, db)
	node := newID()
	consumers, leases := make([]id.ID, 12), make([]id.ID, 12)
	for i := range consumers { // in another order than that of their ids
		consumers[i] = w.Fund(t, money.FromStroops(1_000_000))
		g := grantOf(consumers[i], node, 1_000_000)
		g.ID[0] ^= byte(37 * i)
		l, err := w.Leases.Grant(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		leases[i] = l.ID
	}
	done := make(chan struct{})
	var renewals sync.WaitGroup
	for range 2 {
		renewals.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if open, err := w.Leases.Renew(t.Context(), node, leases, time.Minute); err != nil || len(open) != len(leases) {
					t.Errorf("%d leases are renewed, %v", len(open), err)
					return
				}
			}
		})
	}
	for range 300 {
		batch := make([]usage.Record, 0, len(leases))
		for _, i := range rand.Perm(len(leases)) {
			batch = append(batch, usage.Record{Event: w.Call(t, consumers[i], money.FromStroops(3)), LeaseID: leases[i]})
		}
		if _, err := w.Journal.Append(t.Context(), batch); err != nil {
			t.Error(err)
		}
	}
	close(done)
	renewals.Wait()
	w.WantSound(t)
}

// A sum that is not that of its events is a fault of this program, and may not become one of the books.
func TestWhatLeasesPayIsWhatTheirEventsCost(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	w := chargingWorld(t, db)
	c := w.Fund(t, money.FromStroops(1000))
	l, err := w.Leases.Grant(t.Context(), grantOf(c, newID(), 100))
	if err != nil {
		t.Fatal(err)
	}
	batch := []usage.Record{{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}, {Event: w.Call(t, c, money.FromStroops(4)), LeaseID: l.ID}}
	for _, sum := range []int64{6, 8} {
		if err := postgres.AppendWithSums(t.Context(), db, batch, sum); err == nil || !strings.Contains(err.Error(), "what the leases pay is not what the events cost") {
			t.Errorf("events of 7 stroops for %d: %v", sum, err)
		}
	}
	if n := len(w.Events(t)); n != 0 {
		t.Errorf("%d events are stored", n)
	}
	if err := postgres.AppendWithSums(t.Context(), db, batch, 7); err != nil {
		t.Error(err)
	}
	w.WantSound(t)
}
