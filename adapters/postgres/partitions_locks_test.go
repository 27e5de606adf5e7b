package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
)

const (
	makeStep = `SELECT usage_partitions(3)`
	moveStep = `SELECT usage_partitions_move(100)`
)

// mayNotMove adds events to the default partition whose ids tell days that get no partition.
func (b *backlog) mayNotMove(t *testing.T, n int) {
	t.Helper()
	b.exec(t, `INSERT INTO usage_events SELECT (lpad(to_hex(n), 12, '0') || '7fff8fffffffffffffff')::uuid,
		NULL, user_id, api_id, endpoint_id, api_key_id, 0, 200, 1, now() FROM usage_events, generate_series(1, $2::int) n WHERE id = $1`, b.old[0], n)
}

// A step that holds what a charge needs changes the catalogue and touches next to no events, however many there are, so that
// how long charges wait does not grow with them.
func TestAStepThatHoldsUpChargesTouchesNoEvents(t *testing.T) {
	t.Parallel()
	const days, perDay, strays, most = 40, 100, 1500, 200
	b := newBacklog(t, days, perDay)
	b.mayNotMove(t, strays)
	if _, err := b.charge(t, 3); err != nil {
		t.Fatal(err)
	}
	const held = `SELECT DISTINCT relation FROM pg_locks WHERE pid = pg_backend_pid() AND relation = ANY ($1)
		AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`
	const touched = `SELECT relid, seq_tup_read + COALESCE(idx_tup_fetch, 0) + n_tup_ins + n_tup_upd + n_tup_del AS rows
		FROM pg_stat_xact_user_tables WHERE relname ~ '^usage_events' AND relid = ANY ($1)`
	type table struct {
		ID   int64 `db:"relid"`
		Rows int   `db:"rows"` // of this transaction, and of those before that are not counted elsewhere yet
	}
	var holding int
	steps := []string{makeStep, moveStep}
	for idle, step := 0, 0; idle < len(steps); step++ {
		var tables pq.Int64Array
		if err := b.db.Get(&tables, `SELECT array_agg(oid::bigint) FROM pg_class WHERE relkind IN ('r', 'p')`); err != nil {
			t.Fatal(err)
		}
		tx := b.db.MustBegin()
		var done, rows int
		var before, after []table
		var locks []int64
		for _, read := range []func() error{
			func() error { return tx.Select(&before, touched, tables) },
			func() error { return tx.Get(&done, steps[step%2]) },
			func() error { return tx.Select(&after, touched, tables) },
			func() error { return tx.Select(&locks, held, tables) },
			tx.Commit,
		} {
			if err := read(); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		if idle++; done > 0 {
			idle = 0
		}
		if len(locks) == 0 {
			continue
		}
		holding++
		for _, a := range after {
			rows += a.Rows
			for _, b := range before {
				if a.ID == b.ID {
					rows -= b.Rows
				}
			}
		}
		if rows > most {
			t.Errorf("step %d (%s) touched %d events while it held locks on %d tables that charges need", step, steps[step%2], rows, len(locks))
		}
	}
	if holding < 3 { // to begin, to put the copies in their place, and again for the rest
		t.Errorf("only %d steps held locks", holding)
	}
	b.wantNoneWaiting(t)
}

func (b *backlog) wantNoneWaiting(t *testing.T) {
	t.Helper()
	state, err := postgres.NewPartitions(b.db, daysAhead).State(t.Context())
	if err != nil || state.Ahead != daysAhead || state.Waiting != 0 {
		t.Errorf("the partitions are %+v, %v", state, err)
	}
	b.WantSound(t)
}

// until does steps until the condition holds.
func (b *backlog) until(t *testing.T, condition string) {
	t.Helper()
	for idle := 0; b.get(t, `SELECT (`+condition+`)::int`) == 0; idle++ {
		switch {
		case b.get(t, makeStep)+b.get(t, moveStep) > 0:
			idle = 0
		case idle > 1: // copies that are given up are made anew
			t.Fatalf("nothing is left to do, and not: %s", condition)
		}
	}
}

// Whoever is in the way of a step delays that and no charge: the step waits for the one lock that charges then wait behind,
// for 100 ms, and for none while it holds that one.
func TestAStepGivesUpWhereSomebodyIsInTheWay(t *testing.T) {
	t.Parallel()
	const (
		aCharge = `INSERT INTO usage_events SELECT ('0000' || substr(id::text, 5))::uuid, lease_id, user_id, api_id, endpoint_id, api_key_id, 0, 200, 1, now()
			FROM usage_events LIMIT 1`
		aReader = `SELECT count(*) FROM usage_events_default`
		aVacuum = `LOCK TABLE ONLY usage_events_default_next IN SHARE UPDATE EXCLUSIVE MODE`

		waited = "canceling statement due to lock timeout"
		didNot = "could not obtain lock on relation"
	)
	begun := func(t *testing.T, b *backlog) { b.get(t, makeStep) }
	checked := func(t *testing.T, b *backlog) { b.until(t, `EXISTS (SELECT FROM usage_staging WHERE checked)`) }
	proven := func(t *testing.T, b *backlog) {
		b.until(t, `EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('usage_events_default_next') AND convalidated AND conname = 'usage_events_staged')`)
	}
	spoilt := func(t *testing.T, b *backlog) {
		b.until(t, `EXISTS (SELECT FROM usage_staging WHERE copied IS NOT NULL)`)
		b.exec(t, `DELETE FROM usage_events_`+b.old[0].Time().Format("20060102"))
	}
	attached := func(t *testing.T, b *backlog) {
		begun(t, b)
		b.exec(t, `SELECT usage_staging_drop()`)
	}
	for _, tc := range []struct {
		name     string
		after    func(t *testing.T, b *backlog)
		step     string
		inTheWay string
		want     string
	}{
		{"attaching days, a charge", nil, makeStep, aCharge, waited},
		{"attaching days, a reader of the default partition", nil, makeStep, aReader, didNot},
		{"beginning to copy, a charge", attached, makeStep, aCharge, waited},
		{"proving, a vacuum", checked, moveStep, aVacuum, didNot},
		{"putting the copies in their place, a charge", proven, moveStep, aCharge, waited},
		{"putting the copies in their place, a reader of the default partition", proven, moveStep, aReader, didNot},
		{"putting the copies in their place, a vacuum", proven, moveStep, aVacuum, didNot},
		{"giving the copies up, a charge", spoilt, moveStep, aCharge, waited},
		{"giving the copies up, a vacuum", spoilt, moveStep, aVacuum, didNot},
	} {
		b := newBacklog(t, 1, 10)
		if tc.after != nil {
			tc.after(t, b)
		}
		other := b.db.MustBegin()
		other.MustExec(tc.inTheWay)
		step := b.db.MustBegin()
		step.MustExec(`SET LOCAL statement_timeout = '5s'`) // for all of the step on a busy machine, and less than it waits for another node
		if _, err := step.Exec(tc.step); pq.As(err, pqerror.LockNotAvailable) == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
		if err := step.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := other.Rollback(); err != nil {
			t.Fatal(err)
		}
		b.until(t, `(SELECT waiting = 0 FROM usage_partitions_state(3))`)
		b.wantNoneWaiting(t)
		const bounded = `SELECT count(*) FROM pg_proc WHERE proname IN ('usage_partitions', 'usage_partitions_move') AND 'lock_timeout=100ms' = ANY (proconfig)`
		if n := b.get(t, bounded); n != 2 {
			t.Fatalf("%d functions wait for 100 ms at most, want 2", n)
		}
	}
}

// Of a backlog of many days, today and the days ahead have their partitions after the first move, and new events go there.
func TestTodayIsInTheFirstMove(t *testing.T) {
	t.Parallel()
	const days = 45
	b := newBacklog(t, days, 50)
	b.mayNotMove(t, 1500) // enough that no day is attached at once
	if _, err := b.charge(t, 3); err != nil {
		t.Fatal(err)
	}
	b.until(t, `(SELECT ahead >= 0 FROM usage_partitions_state(3))`)
	state, err := postgres.NewPartitions(b.db, daysAhead).State(t.Context())
	if err != nil || state.Ahead != daysAhead || state.Waiting == 0 {
		t.Errorf("after the first move: %+v, %v", state, err)
	}
	batch, err := b.charge(t, 3)
	if err != nil {
		t.Fatal(err)
	}
	if n := b.get(t, `SELECT count(*) FROM usage_events_default WHERE id >= usage_day_floor(usage_day($1))`, batch[0].ID); n != 0 {
		t.Errorf("%d events of today are in the default partition", n)
	}
	const oldestFirst = `SELECT count(*) FROM usage_events_default WHERE id >= usage_day_floor($1) AND id < usage_day_floor($2)`
	first := b.old[0].Time()
	if n := b.get(t, oldestFirst, first, first.Add(20*day)); n != 0 {
		t.Errorf("%d events of the oldest days still wait", n)
	}
	b.until(t, `(SELECT waiting = 0 FROM usage_partitions_state(3))`)
	b.wantNoneWaiting(t)
}

// A move that was stopped, and goes on after the last day it was for, gives way to one with today.
func TestTodayComesBeforeAnOlderMove(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 3, 10)
	b.exec(t, `SELECT usage_partitions(0, $1::date)`, time.Now().UTC().Add(-2*day).Format(time.DateOnly))
	if n := b.get(t, `SELECT count(*) FROM usage_staging`); n != 3 { // two days, and what is of none
		t.Fatalf("%d tables are filled", n)
	}
	for range 2 {
		b.get(t, makeStep)
	}
	if n := b.get(t, `SELECT ahead FROM usage_partitions_state(3)`); n != daysAhead {
		t.Errorf("%d days ahead have their partition", n)
	}
	b.until(t, `(SELECT waiting = 0 FROM usage_partitions_state(3))`)
	b.wantNoneWaiting(t)
	if n := b.get(t, `SELECT count(*) FROM usage_events`); n != 30 {
		t.Errorf("%d events, want 30", n)
	}
}
