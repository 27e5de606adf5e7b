package db_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

const day = 24 * time.Hour

func makePartitions(db *sqlx.DB, days int, today time.Time) (made int, err error) {
	err = db.Get(&made, `SELECT usage_partitions($1, $2::date)`, days, today.Format(time.DateOnly))
	return made, err
}

// keepPartitions makes and moves until nothing is left to do, as the passes of a node do.
func keepPartitions(db *sqlx.DB, days int, today time.Time) error {
	for tries := 0; tries < 1000; tries++ {
		made, err := makePartitions(db, days, today)
		var moved int
		if err == nil {
			err = db.Get(&moved, `SELECT usage_partitions_move()`)
		}
		switch {
		case pq.As(err, pqerror.LockNotAvailable) != nil: // somebody is in the way for a moment
		case err != nil || made+moved == 0:
			return err
		}
	}
	return errors.New("there is always more to do")
}

// eventAt records an event with the id and returns the partition it went to.
func eventAt(t *testing.T, db *sqlx.DB, event id.ID) string {
	t.Helper()
	var table string
	err := db.Get(&table, `INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		VALUES ($1, $1, $1, $1, $1, 0, 200, 1, now()) RETURNING tableoid::regclass::text`, event)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func nameOf(at time.Time) string { return "usage_events_" + at.UTC().Format("20060102") }

func TestPartitionsAreMadeOnceAndADayAheadEachMidnight(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	today := time.Now().UTC().Truncate(day).Add(100 * day)
	for _, c := range []struct {
		days  int
		today time.Time
		want  int
	}{{3, today, 4}, {3, today, 0}, {2, today, 0}, {3, today.Add(day), 1}, {5, today.Add(day), 2}, {0, today, 0}} {
		if made, err := makePartitions(pool, c.days, c.today); err != nil || made != c.want {
			t.Errorf("%d days from %s made %d, want %d, %v", c.days, c.today, made, c.want, err)
		}
	}
	// whatever the session's zone, days are those of UTC
	for _, zone := range []string{"UTC", "Pacific/Kiritimati", "America/Los_Angeles"} {
		pool.SetMaxOpenConns(1)
		pool.MustExec(`SET timezone = '` + zone + `'`)
		var made int
		if err := pool.Get(&made, `SELECT usage_partitions(7)`); err != nil || made > 1 { // 1: midnight has passed
			t.Errorf("in %s %d partitions are new, %v", zone, made, err)
		}
	}
}

func TestAnEventGoesToThePartitionOfItsDay(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	today := time.Now().UTC().Truncate(day).Add(50 * day)
	if _, err := makePartitions(pool, 1, today); err != nil {
		t.Fatal(err)
	}
	last := id.FirstAt(today.Add(day - time.Millisecond))
	for i := 6; i < len(last); i++ {
		last[i] = 0xff // the last id of the last millisecond of the day
	}
	for _, c := range []struct {
		event id.ID
		want  string
	}{
		{id.FirstAt(today), nameOf(today)}, {last, nameOf(today)}, {id.FirstAt(today.Add(day)), nameOf(today.Add(day))},
		{id.FirstAt(today.Add(-time.Millisecond)), "usage_events_default"}, {id.FirstAt(today.Add(2 * day)), "usage_events_default"},
	} {
		if got := eventAt(t, pool, c.event); got != c.want {
			t.Errorf("%s (%s) went to %s, want %s", c.event, c.event.Time(), got, c.want)
		}
	}
}

func TestEventsThatCameBeforeTheirPartitionMoveIntoIt(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	today := time.Now().UTC().Truncate(day).Add(60 * day)
	early, past, wrong := id.FirstAt(today.Add(time.Hour)), id.FirstAt(today.Add(-9*day)), id.FirstAt(today.Add(9000*day))
	for _, event := range []id.ID{early, past, wrong} {
		if got := eventAt(t, pool, event); got != "usage_events_default" {
			t.Fatalf("went to %s", got)
		}
	}
	pool.MustExec(`INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		SELECT uuid_nil, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at
		FROM usage_events, CAST('00000000-0000-0000-0000-000000000000' AS uuid) uuid_nil WHERE id = $1`, early)
	before := len(partitions(t, pool))
	if err := keepPartitions(pool, 2, today); err != nil {
		t.Fatal(err)
	}
	if made := len(partitions(t, pool)) - before; made != 4 {
		t.Errorf("%d partitions are new: %v", made, partitions(t, pool))
	}
	for event, want := range map[string]string{
		early.String(): nameOf(today), past.String(): nameOf(today.Add(-9 * day)),
		wrong.String(): "usage_events_default", id.ID{}.String(): "usage_events_default",
	} {
		var got []string
		if err := pool.Select(&got, `SELECT tableoid::regclass::text FROM usage_events WHERE id = $1`, event); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s is in %v, want %s", event, got, want)
		}
		// and it is still known as charged
		_, err := pool.Exec(`INSERT INTO usage_events SELECT * FROM usage_events WHERE id = $1`, event)
		if err == nil || !strings.Contains(err.Error(), "duplicate key") {
			t.Errorf("a second charge: %v", err)
		}
	}
}

func TestAPartitionIsLikeItsParent(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	var indexes []string
	err := pool.Select(&indexes, `SELECT p.relname || ' of ' || count(*) FROM pg_class p JOIN pg_index i ON i.indrelid = p.oid
		JOIN pg_inherits h ON h.inhrelid = i.indexrelid WHERE p.relispartition AND p.relkind = 'r' GROUP BY p.relname`)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(partitions(t, pool)) + 1; len(indexes) != want {
		t.Errorf("%d partitions with attached indexes, want %d", len(indexes), want)
	}
	for _, line := range indexes {
		if !strings.HasSuffix(line, " of 2") {
			t.Errorf("attached indexes: %s", line)
		}
	}
}

// Nodes make partitions while calls of that very day are charged: every charge succeeds, and none is lost on the way.
func TestPartitionsAreMadeByManyNodesUnderCharges(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	today := time.Now().UTC().Truncate(day).Add(200 * day)
	const nodes, writers, calls, days = 6, 4, 150, 9
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	for w := range writers {
		wg.Go(func() {
			for i := range calls {
				event := id.FirstAt(today.Add(time.Duration(w*calls+i) * time.Millisecond))
				_, err := pool.Exec(`INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
					VALUES ($1, $1, $1, $1, $1, 0, 200, 1, now()) ON CONFLICT DO NOTHING`, event)
				if err != nil {
					note(fmt.Errorf("charge: %w", err))
				}
			}
		})
	}
	for range nodes {
		wg.Go(func() { note(keepPartitions(pool, days, today)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := keepPartitions(pool, days, today); err != nil { // who found another node at it has left the rest to that one
		t.Fatal(err)
	}
	for i := range days + 1 {
		if want := nameOf(today.Add(time.Duration(i) * day)); !slices.Contains(partitions(t, pool), want) {
			t.Errorf("%s is missing", want)
		}
	}
	var there, astray int
	if err := pool.Get(&there, `SELECT count(*) FROM `+nameOf(today)); err != nil {
		t.Fatal(err)
	}
	if err := pool.Get(&astray, `SELECT count(*) FROM usage_events_default`); err != nil {
		t.Fatal(err)
	}
	if there != writers*calls || astray != 0 {
		t.Errorf("%d events in their partition, %d in the default one, want %d and 0", there, astray, writers*calls)
	}
}

func TestTheFirstIDOfATimeIsTheSameInSQLAndGo(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	rapid.Check(t, func(rt *rapid.T) {
		micros := rapid.Int64Range(-1_000_000, 4_102_444_800_000_000).Draw(rt, "microseconds")
		at := time.UnixMicro(micros).UTC()
		var got id.ID
		if err := pool.Get(&got, `SELECT uuid7_floor($1)`, at); err != nil {
			rt.Fatal(err)
		}
		if want := id.FirstAt(at); got != want {
			rt.Fatalf("%s: %s in SQL, %s in Go", at, got, want)
		}
	})
}
