package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// years plants a call of the user on each of a thousand days up to today.
func years(t *testing.T, pool *sqlx.DB, user id.ID) (first time.Time) {
	t.Helper()
	first = time.Now().UTC().Truncate(day).Add(-1000 * day)
	_, err := pool.Exec(`INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		SELECT uuid7_floor(at), $1, $1, $1, $1, 0, 200, 1, at FROM generate_series($2::timestamptz, now(), INTERVAL '1 day') at`, user, first.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// within fails when do takes longer; generous, as other tests run at the same time.
func within(t *testing.T, limit time.Duration, what string, do func() error) {
	t.Helper()
	began := time.Now()
	err := do()
	took := time.Since(began)
	t.Logf("%s: %v", what, took)
	if err != nil || took > limit {
		t.Errorf("%s: %v after %v, want at most %v", what, err, took, limit)
	}
}

func TestYearsOfPartitionsCostNothing(t *testing.T) {
	t.Parallel()
	pool, user := dbtest.NewOfYears(t), newID()
	if _, err := pool.Exec(`INSERT INTO users (id) VALUES ($1)`, user); err != nil {
		t.Fatal(err)
	}
	first := years(t, pool, user)
	p := postgres.NewPartitions(pool, 7)
	ctx := t.Context()
	within(t, time.Second, "a pass", func() error { return keep(ctx, p) })
	within(t, time.Second, "the state", func() error {
		s, err := p.State(ctx)
		if err == nil && s != (postgres.PartitionState{Ahead: 7}) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	within(t, time.Second, "the check at the start", func() error { return db.Check(ctx, pool.DB) })
	within(t, 2*time.Second, "migrate up", func() error { _, err := db.Up(ctx, pool.DB); return err })
	hole := first.Add(600 * day)
	pool.MustExec(`CREATE TEMP TABLE kept AS SELECT * FROM usage_events_` + hole.Format("20060102") + `; DROP TABLE usage_events_` + hole.Format("20060102") +
		`; INSERT INTO usage_events SELECT * FROM kept`)
	within(t, 2*time.Second, "a day among them", func() error {
		if err := keep(ctx, p); err != nil {
			return err
		}
		var table string
		err := pool.Get(&table, `SELECT tableoid::regclass FROM usage_events WHERE id = $1`, id.FirstAt(hole.Add(time.Hour)))
		if err == nil && table != "usage_events_"+hole.Format("20060102") {
			err = fmt.Errorf("its event is in %s", table)
		}
		return err
	})

	var total int
	if err := pool.Get(&total, `SELECT count(*) FROM usage_events`); err != nil {
		t.Fatal(err)
	}
	reader := postgres.NewUsageReader(pool)
	all := ports.UsageQuery{User: user, From: time.Unix(0, 0), To: time.Now().Add(1000 * day), Limit: 20}
	within(t, 5*time.Second, "the sum of years", func() error {
		stats, err := reader.UsageStats(ctx, ports.UsageQuery{User: user, From: all.From, To: all.To, GroupBy: "week"})
		weeks := 0
		for _, week := range stats.Buckets {
			weeks += int(week.Calls)
		}
		if err == nil && (int(stats.Calls) != total || len(stats.ByAPI) != 1 || int(stats.ByAPI[0].Calls) != total || weeks != total || len(stats.Buckets) > 150) {
			err = fmt.Errorf("%d calls, by API %v, in %d weeks %d", stats.Calls, stats.ByAPI, len(stats.Buckets), weeks)
		}
		return err
	})
	newest := time.Now().UTC().Truncate(day).Add(time.Hour)
	if newest.After(time.Now()) {
		newest = newest.Add(-day)
	}
	for _, offset := range []int{0, 25, 990, total - 1, 2000} {
		within(t, 5*time.Second, fmt.Sprintf("a page of years from %d", offset), func() error {
			q := all
			q.Offset = offset
			lines, n, err := reader.UsageEvents(ctx, q)
			if want := max(min(20, total-offset), 0); err == nil && (n != total || len(lines) != want) {
				return fmt.Errorf("%d of %d", len(lines), n)
			}
			for i, line := range lines {
				if want := newest.Add(time.Duration(-offset-i) * day); !line.ID.Time().Equal(want) {
					return fmt.Errorf("line %d is of %s, want %s", i, line.ID.Time(), want)
				}
			}
			return err
		})
	}

	// locks: a report waits at the newest of its days, with all that it has locked before
	gate := pool.MustBegin()
	defer gate.Rollback() //nolint:errcheck // it has only waited
	gate.MustExec(`LOCK TABLE usage_events_` + time.Now().UTC().Format("20060102") + ` IN ACCESS EXCLUSIVE MODE`)
	done := make(chan error, 2)
	go func() { _, err := reader.UsageStats(ctx, all); done <- err }()
	go func() { _, _, err := reader.UsageEvents(ctx, all); done <- err }()
	var locks []int
	for len(locks) < 2 {
		err := pool.Select(&locks, `SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'relation'
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) GROUP BY pid`)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range locks {
		if n > 200 {
			t.Errorf("a report of years has %d locks", n)
		}
	}
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
