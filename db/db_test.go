package db_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

var daily = regexp.MustCompile(`usage_events_\d{8}`)

func connect(t *testing.T, address string) *sqlx.DB {
	t.Helper()
	pool, err := sqlx.Connect("postgres", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func up(t *testing.T, pool *sqlx.DB) int {
	t.Helper()
	n, err := db.Up(t.Context(), pool.DB)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func version(t *testing.T, pool *sqlx.DB) (at, want int64) {
	t.Helper()
	at, want, err := db.Version(t.Context(), pool.DB)
	if err != nil {
		t.Fatal(err)
	}
	return at, want
}

func TestUpDownUpEndsInTheSameSchema(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.Empty(t))
	empty := dump(t, pool)
	if len(empty) != 0 {
		t.Fatalf("a new database has %v", empty)
	}
	all := up(t, pool)
	full := dump(t, pool)
	if all == 0 || len(full) < 100 || len(partitions(t, pool)) < 8 {
		t.Fatalf("%d migrations made %d things and the partitions %v", all, len(full), partitions(t, pool))
	}
	if n := up(t, pool); n != 0 {
		t.Errorf("the second up applied %d", n)
	}
	n, err := db.Down(t.Context(), pool.DB, true)
	if err != nil || n != all {
		t.Fatalf("down took %d of %d back: %v", n, all, err)
	}
	differ(t, "after down", empty, dump(t, pool))
	if left := partitions(t, pool); len(left) != 0 {
		t.Errorf("down leaves %v", left)
	}
	up(t, pool)
	differ(t, "after down and up", full, dump(t, pool))
	if _, err := db.Down(t.Context(), pool.DB, true); err != nil {
		t.Fatal(err)
	}
	differ(t, "after the second down", empty, dump(t, pool))
}

func TestEachStepDownIsTheStepUpBackwards(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	full := dump(t, pool)
	at, want := version(t, pool)
	if at != want || at == 0 {
		t.Fatalf("at %d of %d", at, want)
	}
	steps := 0
	for at > 0 {
		n, err := db.Down(t.Context(), pool.DB, false)
		if err != nil || n != 1 {
			t.Fatalf("down from %d: %d steps, %v", at, n, err)
		}
		steps++
		now, _ := version(t, pool)
		if now >= at {
			t.Fatalf("down from %d leads to %d", at, now)
		}
		at = now
		if err := db.Check(t.Context(), pool.DB); !errors.Is(err, db.ErrOld) || !strings.Contains(err.Error(), "migrate up") {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if n, err := db.Down(t.Context(), pool.DB, false); n != 0 || err != nil {
		t.Errorf("down from nothing: %d steps, %v", n, err)
	}
	if n := up(t, pool); n != steps {
		t.Errorf("up applied %d of %d", n, steps)
	}
	differ(t, "after all steps down and up", full, dump(t, pool))
	if err := db.Check(t.Context(), pool.DB); err != nil {
		t.Error(err)
	}
	fill(t, pool) // the new schema is as good as the old
}

func TestServersThatStartAtOnceMigrateOnce(t *testing.T) {
	t.Parallel()
	address := dbtest.Empty(t)
	const servers = 4
	var (
		wg      sync.WaitGroup
		applied [servers]int
		errs    [servers]error
	)
	for i := range servers {
		pool := connect(t, address)
		wg.Go(func() {
			applied[i], errs[i] = db.Up(t.Context(), pool.DB)
			if errs[i] == nil {
				errs[i] = db.Check(t.Context(), pool.DB) // whoever returns finds all done
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	pool := connect(t, address)
	total := 0
	for _, n := range applied {
		total += n
	}
	if steps, err := db.Status(t.Context(), pool.DB); err != nil || total != len(steps) {
		t.Errorf("%v migrations were applied of %v, %v", applied, steps, err)
	}
}

func TestStatusTellsWhatIsApplied(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	if _, err := db.Down(t.Context(), pool.DB, false); err != nil {
		t.Fatal(err)
	}
	steps, err := db.Status(t.Context(), pool.DB)
	if err != nil || len(steps) < 2 {
		t.Fatalf("%v, %v", steps, err)
	}
	for i, s := range steps {
		if i > 0 && s.Version <= steps[i-1].Version || !strings.HasSuffix(s.Name, ".sql") || s.Applied != (i < len(steps)-1) {
			t.Errorf("step %d is %+v", i, s)
		}
	}
}

func TestANewerSchemaIsNamedAsSuch(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	pool.MustExec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`)
	err := db.Check(t.Context(), pool.DB)
	if !errors.Is(err, db.ErrNew) || !strings.Contains(err.Error(), "at version 99") {
		t.Error(err)
	}
}

func TestADatabaseThatIsAwayIsAnError(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.Empty(t))
	_ = pool.Close()
	ctx := t.Context()
	for what, do := range map[string]func() error{
		"up":       func() error { _, err := db.Up(ctx, pool.DB); return err },
		"down":     func() error { _, err := db.Down(ctx, pool.DB, false); return err },
		"down all": func() error { _, err := db.Down(ctx, pool.DB, true); return err },
		"status":   func() error { _, err := db.Status(ctx, pool.DB); return err },
		"check":    func() error { return db.Check(ctx, pool.DB) },
	} {
		if do() == nil {
			t.Errorf("%s succeeds on a closed database", what)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := db.Up(ctx, connect(t, dbtest.Empty(t)).DB); !errors.Is(err, context.Canceled) {
		t.Errorf("up with a cancelled context: %v", err)
	}
}
