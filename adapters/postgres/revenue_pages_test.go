package postgres

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// closedLeases makes n closed leases of three users with up to 40 calls of two APIs each, free ones among them. They overlap, some
// have a call of days before, and one has no bounds.
func closedLeases(t *testing.T, n int, random *rand.Rand) *sqlx.DB {
	t.Helper()
	db := dbtest.New(t)
	db.MustExec(`
	CREATE FUNCTION uid(kind text, n int) RETURNS uuid LANGUAGE sql AS $$ SELECT md5(kind || n)::uuid $$;
	INSERT INTO users (id) SELECT uid('user', n) FROM generate_series(0, 2) n;
	INSERT INTO developers (id, user_id) SELECT uid('developer', n), uid('user', n) FROM generate_series(0, 2) n;
	INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
		SELECT uid('api', n), uid('developer', n), 'a' || n, 'a', 'http://x', 'c', 'active' FROM generate_series(0, 1) n;
	INSERT INTO vaults (id, user_id, network, balance_snapshot) SELECT uid('vault', n), uid('user', n), 'testnet', 1000000 FROM generate_series(0, 2) n`)
	for i := range n {
		db.MustExec(`
		WITH l AS (SELECT now() - make_interval(secs => $2) AS at), calls AS (
			SELECT n, CASE WHEN n = 1 AND $4 THEN at - INTERVAL '3 days' ELSE at + make_interval(secs => n * 10) END AS at, n % 4 AS amount FROM l, generate_series(1, $3::int) n
		), e AS (
			INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
			SELECT (left(uuid7_floor(at)::text, 14) || right(gen_random_uuid()::text, 22))::uuid, CASE WHEN amount > 0 THEN uid('lease', $1) END, uid('user', $1::int % 3), uid('api', n % 2),
				uid('e', 0), uid('k', 0), amount, 200, 1, at FROM calls RETURNING id
		)
		INSERT INTO leases (id, vault_id, node_id, granted, used, state, opened_at, expires_at, closed_at, indexed_at, first_event, last_event)
		SELECT uid('lease', $1), uid('vault', $1::int % 3), uid('node', 0), 1000, used, 'closed', at, at, at + INTERVAL '1 minute', CASE WHEN used = 0 THEN now() END,
			CASE WHEN $1 <> 5 THEN (SELECT id FROM e ORDER BY id LIMIT 1) END, CASE WHEN $1 <> 5 THEN (SELECT id FROM e ORDER BY id DESC LIMIT 1) END
		FROM l, (SELECT COALESCE(sum(amount), 0) AS used FROM calls) u`,
			i, random.IntN(3000), random.IntN(41), i != 5 && random.IntN(8) == 0)
	}
	db.MustExec(`UPDATE vaults v SET uncollected = (SELECT COALESCE(sum(used), 0) FROM leases WHERE vault_id = v.id)`)
	return db
}

// bookAll books until nothing is left, and returns how many calls that were in how many passes.
func bookAll(ctx context.Context, r *Revenue, limit int) (calls, passes int, err error) {
	for {
		n, err := r.IndexRevenue(ctx, limit)
		if calls += n; n == 0 || err != nil {
			return calls, passes, err
		}
		passes++
	}
}

// allBooked fails unless the revenue is what the events come to, by lease and API.
func allBooked(t *testing.T, db *sqlx.DB) {
	t.Helper()
	var differ, calls int
	err := db.QueryRow(`SELECT count(*) FILTER (WHERE r IS DISTINCT FROM e), count(*) FROM (
			SELECT lease_id, api_id, developer_id, user_id, calls, amount, earned_at FROM revenue) r
		FULL JOIN (SELECT e.lease_id, e.api_id, a.developer_id, e.user_id, count(*) AS calls, sum(e.amount)::bigint AS amount, max(e.occurred_at) AS earned_at
			FROM usage_events e JOIN apis a ON a.id = e.api_id WHERE e.amount > 0 GROUP BY 1, 2, 3, 4) e USING (lease_id, api_id)`).Scan(&differ, &calls)
	if err != nil || differ > 0 || calls == 0 {
		t.Errorf("%d of %d rows are not what the calls come to, %v", differ, calls, err)
	}
	if err := db.Get(&differ, `SELECT count(*) FROM (SELECT usage_event_id, amount FROM revenue_ledger EXCEPT ALL SELECT id, amount FROM usage_events WHERE amount > 0) d`); err != nil || differ > 0 {
		t.Errorf("revenue_ledger shows %d calls that have not been charged, %v", differ, err)
	}
	soundMoney(t, db)
}

func TestRevenueIsTheSameInPagesOfAnySize(t *testing.T) {
	t.Parallel()
	for _, page := range []int{1, 2, 3, 7, 50, revenuePage} {
		random := rand.New(rand.NewPCG(uint64(page), 1))
		db := closedLeases(t, 30, random)
		r := NewRevenue(db)
		r.page = page
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		calls, passes, err := bookAll(ctx, r, 1+random.IntN(40))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("pages of %d: %d calls in %d passes", page, calls, passes)
		allBooked(t, db)
	}
}

func TestNodesThatBookSideBySideBookEachLeaseOnce(t *testing.T) {
	t.Parallel()
	db := closedLeases(t, 60, rand.New(rand.NewPCG(1, 2)))
	var want int
	if err := db.Get(&want, `SELECT count(*) FROM usage_events WHERE amount > 0`); err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total int
	)
	for range 4 {
		wg.Go(func() {
			r := NewRevenue(db)
			r.page = 5
			calls, _, err := bookAll(t.Context(), r, 3)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			total += calls
			mu.Unlock()
		})
	}
	wg.Wait()
	if more, _, err := bookAll(t.Context(), NewRevenue(db), 100); err != nil {
		t.Error(err)
	} else if total+more != want { // who found all leases taken has left some
		t.Errorf("%d calls are booked, want %d", total+more, want)
	}
	allBooked(t, db)
}

// A lease whose events are not what it used is a drift that nobody may be paid for. It is named, and keeps no other back.
func TestALeaseWhoseEventsAreNotWhatItUsedIsNotBooked(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]string{
		"a call is missing": `DELETE FROM usage_events WHERE id = (SELECT id FROM usage_events WHERE lease_id = uid('lease', 3) AND amount > 0 ORDER BY id LIMIT 1)`,
		"a call too many":   `UPDATE usage_events SET lease_id = uid('lease', 3) WHERE id = (SELECT id FROM usage_events WHERE lease_id = uid('lease', 6) AND amount > 0 ORDER BY id LIMIT 1)`,
		"an API is unknown": `UPDATE usage_events SET api_id = uid('no', 1) WHERE id = (SELECT id FROM usage_events WHERE lease_id = uid('lease', 3) AND amount > 0 ORDER BY id LIMIT 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := closedLeases(t, 12, rand.New(rand.NewPCG(7, 7)))
			db.MustExec(`UPDATE leases SET closed_at = opened_at WHERE id IN (uid('lease', 3), uid('lease', 6))`) // they come first
			db.MustExec(`UPDATE leases SET first_event = uuid7_floor(opened_at - INTERVAL '3 days'), last_event = uuid7_floor(opened_at + INTERVAL '1 hour') WHERE id IN (uid('lease', 3), uid('lease', 6))`)
			var id string
			if err := db.Get(&id, `SELECT uid('lease', 3)`); err != nil {
				t.Fatal(err)
			}
			db.MustExec(drift)
			r := NewRevenue(db)
			named := ""
			for range 20 {
				if _, err := r.IndexRevenue(t.Context(), 1); err != nil {
					named += err.Error() + "\n"
				}
			}
			var booked, left, wrong int
			if err := db.QueryRow(`SELECT count(*) FILTER (WHERE indexed_at IS NOT NULL), count(*) FILTER (WHERE indexed_at IS NULL),
				(SELECT count(*) FROM revenue WHERE lease_id = $1) FROM leases`, id).Scan(&booked, &left, &wrong); err != nil {
				t.Fatal(err)
			}
			if wrong != 0 || left < 1 || left > 2 || booked+left != 12 || strings.Count(named, id) != 1 {
				t.Errorf("%d leases are booked, %d are left, %d rows are of the wrong one; %s", booked, left, wrong, named)
			}
			a, err := NewAuditor(db).Invariants(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range a {
				if strings.HasPrefix(i.Name, "every lease") && i.Holds() && name != "an API is unknown" {
					t.Error("the audit sees nothing")
				}
			}
			if tried := r.leftAlone(time.Now().Add(wrongFor)); tried != "{}" {
				t.Errorf("%s are never tried again", tried)
			}
		})
	}
}

func TestWhoOwnsTheAPIWhenItIsBookedHasEarnedIt(t *testing.T) {
	t.Parallel()
	db := closedLeases(t, 6, rand.New(rand.NewPCG(3, 3)))
	r := NewRevenue(db)
	if _, err := r.IndexRevenue(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	var before, after []string
	const rows = `SELECT revenue::text FROM revenue WHERE developer_id <> uid('developer', 2) ORDER BY 1`
	if err := db.Select(&before, rows); err != nil || len(before) == 0 {
		t.Fatal(before, err)
	}
	db.MustExec(`UPDATE apis SET developer_id = uid('developer', 2)`)
	if _, _, err := bookAll(t.Context(), r, 10); err != nil {
		t.Fatal(err)
	}
	if err := db.Select(&after, rows); err != nil || strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("what was booked became %v, %v", after, err)
	}
	var new int
	if err := db.Get(&new, `SELECT count(*) FROM revenue WHERE developer_id = uid('developer', 2)`); err != nil || new == 0 {
		t.Errorf("the new owner has %d rows, %v", new, err)
	}
	soundMoney(t, db)
}

// A pass that is broken off in its middle, as by a crash, has changed nothing, and the next does its work.
func TestAPassThatIsBrokenOffChangesNothing(t *testing.T) {
	t.Parallel()
	db := closedLeases(t, 12, rand.New(rand.NewPCG(5, 5)))
	gate := db.MustBegin()
	defer gate.Rollback() //nolint:errcheck // twice
	gate.MustExec(`INSERT INTO revenue SELECT l.id, uid('api', n), 0, l.id, l.id, 1, 1, NULL, l.id, l.id, now() FROM leases l, generate_series(0, 1) n WHERE l.id = uid('lease', 3)`)
	ctx, crash := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := NewRevenue(db).IndexRevenue(ctx, 100)
		done <- err
	}()
	for waiting := 0; waiting == 0; {
		if err := db.Get(&waiting, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`); err != nil {
			t.Fatal(err)
		}
	}
	crash()
	if err := <-done; err == nil {
		t.Error("it was not broken off")
	}
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	var rows, marked int
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM revenue), (SELECT count(*) FROM leases WHERE indexed > 0)`).Scan(&rows, &marked); err != nil || rows+marked > 0 {
		t.Errorf("%d rows, %d leases are booked, %v", rows, marked, err)
	}
	if _, _, err := bookAll(t.Context(), NewRevenue(db), 100); err != nil {
		t.Fatal(err)
	}
	allBooked(t, db)
}
