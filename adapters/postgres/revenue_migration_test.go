package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// byCall is a database of before revenue was by lease, with usage of past days: 24 closed leases, each with calls of two APIs
// and free ones. Lease 1 has seen its APIs change hands and lease 2 is settled in part, call by call; 3 is booked in part, 4 not
// at all; 5 has no bounds.
func byCall(t *testing.T) *sqlx.DB {
	t.Helper()
	pool := dbtest.New(t)
	migrateTo(t, pool, 10)
	pool.MustExec(`
	CREATE FUNCTION uid(kind text, n int) RETURNS uuid LANGUAGE sql AS $$ SELECT md5(kind || n)::uuid $$;
	INSERT INTO users (id) SELECT uid('user', n) FROM generate_series(0, 2) n;
	INSERT INTO developers (id, user_id) SELECT uid('developer', n), uid('user', n) FROM generate_series(0, 2) n;
	INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
		SELECT uid('api', n), uid('developer', n), 'a' || n, 'a', 'http://x', 'c', 'active' FROM generate_series(0, 1) n;
	INSERT INTO vaults (id, user_id, network, balance_snapshot) SELECT uid('vault', n), uid('user', n), 'testnet', 1000000 FROM generate_series(0, 2) n;
	INSERT INTO settlements (id, developer_id, amount, status) SELECT uid('settlement', n), uid('developer', n), 1, 'failed' FROM generate_series(0, 1) n;
	INSERT INTO leases (id, vault_id, node_id, granted, state, opened_at, expires_at, closed_at)
		SELECT uid('lease', n), uid('vault', n % 3), uid('node', 0), 1000, 'closed', at, at, at + INTERVAL '1 minute'
		FROM (SELECT n, date_trunc('day', now()) - INTERVAL '3 days' + n * INTERVAL '30 minutes' AS at FROM generate_series(1, 24) n) l;
	INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		SELECT (left(uuid7_floor(l.opened_at + n * INTERVAL '1 second')::text, 14) || right(md5(l.id::text || n)::uuid::text, 22))::uuid,
			l.id, v.user_id, uid('api', n % 2), l.id, l.id, n % 5, 200, 10, l.opened_at + n * INTERVAL '1 second'
		FROM leases l JOIN vaults v ON v.id = l.vault_id, generate_series(1, 30) n;
	UPDATE leases SET used = 60, indexed = 60, indexed_at = closed_at + INTERVAL '1 minute',
		indexed_to = uuid7_floor(closed_at), first_event = uuid7_floor(opened_at), last_event = uuid7_floor(closed_at);
	UPDATE leases SET first_event = NULL, last_event = NULL WHERE id = uid('lease', 5);
	UPDATE vaults SET uncollected = 8 * 60;
	INSERT INTO revenue_ledger (usage_event_id, developer_id, api_id, lease_id, amount, settlement_id, earned_at, indexed_at)
		SELECT e.id, CASE WHEN l.id = uid('lease', 1) AND e.occurred_at < l.opened_at + INTERVAL '15 seconds' THEN uid('developer', 2) ELSE a.developer_id END,
			e.api_id, e.lease_id, e.amount, CASE WHEN l.id = uid('lease', 2) AND e.amount % 2 = 0 THEN uid('settlement', 1) END, e.occurred_at, l.indexed_at
		FROM usage_events e JOIN leases l ON l.id = e.lease_id JOIN apis a ON a.id = e.api_id
		WHERE e.amount > 0 AND l.id <> uid('lease', 4) AND (l.id <> uid('lease', 3) OR e.occurred_at < l.opened_at + INTERVAL '9 seconds');
	UPDATE leases SET indexed = 16, indexed_at = NULL, indexed_to = uuid7_floor(opened_at + INTERVAL '9 seconds') WHERE id = uid('lease', 3);
	UPDATE leases SET indexed = 0, indexed_at = NULL, indexed_to = uid('nil', 0) WHERE id = uid('lease', 4);
	UPDATE leases SET indexed_to = '00000000-0000-0000-0000-000000000000' WHERE id = uid('lease', 4)`)
	return pool
}

func migrateTo(t *testing.T, pool *sqlx.DB, version int64) {
	t.Helper()
	for {
		at, _, err := db.Version(t.Context(), pool.DB)
		if err != nil {
			t.Fatal(err)
		}
		if at <= version {
			return
		}
		if _, err := db.Down(t.Context(), pool.DB, false); err != nil {
			t.Fatal(err)
		}
	}
}

func migrateUp(t *testing.T, pool *sqlx.DB) {
	t.Helper()
	if _, err := db.Up(t.Context(), pool.DB); err != nil {
		t.Fatal(err)
	}
}

// ledgerOf is revenue_ledger as text, a line for each call.
func ledgerOf(t *testing.T, pool *sqlx.DB) string {
	t.Helper()
	var lines []string
	if err := pool.Select(&lines, `SELECT (usage_event_id, developer_id, api_id, lease_id, amount, settlement_id, earned_at)::text FROM revenue_ledger ORDER BY usage_event_id`); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func soundMoney(t *testing.T, pool *sqlx.DB) {
	t.Helper()
	for range 2 {
		r, err := NewAuditor(pool).AuditAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sound(t, r)
	}
}

func TestRevenueByCallBecomesRevenueByLeaseAndBack(t *testing.T) {
	t.Parallel()
	pool := byCall(t)
	want := ledgerOf(t, pool)
	// what is left of the lease that is booked in part
	pool.MustExec(`CREATE TABLE rest AS SELECT (e.id, a.developer_id, e.api_id, e.lease_id, e.amount, NULL::uuid, e.occurred_at)::text AS line
		FROM usage_events e JOIN leases l ON l.id = e.lease_id JOIN apis a ON a.id = e.api_id WHERE l.id = uid('lease', 3) AND e.id > l.indexed_to AND e.amount > 0`)
	var rest []string
	if err := pool.Select(&rest, `SELECT line FROM rest`); err != nil {
		t.Fatal(err)
	}
	if len(rest) == 0 || strings.Count(want, "\n") != 22*24+7-1 {
		t.Fatalf("%d lines, %d of them to come", strings.Count(want, "\n"), len(rest))
	}
	same := func(when string) {
		t.Helper()
		got := ledgerOf(t, pool)
		if strings.Count(got, "\n") != 23*24-1 {
			t.Errorf("%s: %d calls have earned, want %d", when, strings.Count(got, "\n")+1, 23*24)
		}
		for line := range strings.Lines(want + "\n" + strings.Join(rest, "\n")) {
			if !strings.Contains(got, strings.TrimSpace(line)) {
				t.Errorf("%s: lost %s", when, line)
			}
		}
	}
	migrateUp(t, pool)
	same("up")
	soundMoney(t, pool)
	var parts, once int
	if err := pool.QueryRow(`SELECT count(*) FILTER (WHERE lease_id IN (uid('lease', 1), uid('lease', 2))), count(*) FILTER (WHERE lease_id NOT IN (uid('lease', 1), uid('lease', 2)))
		FROM revenue`).Scan(&parts, &once); err != nil {
		t.Fatal(err)
	}
	if once != 21*2 || parts <= 4 || parts > 48 {
		t.Errorf("%d rows for 21 leases of two APIs, %d for the two that are not of one hand", once, parts)
	}
	migrateTo(t, pool, 10)
	same("down")
	migrateUp(t, pool)
	same("up again")
	if n, err := NewRevenue(pool).IndexRevenue(t.Context(), 10); n != 24 || err != nil {
		t.Errorf("booked %d calls, %v; want those of the one lease that was not", n, err)
	}
	soundMoney(t, pool)
}

// What was sealed by call is proven by call.
func TestADaySealedBeforeRevenueWasByLeaseIsStillProven(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]string{
		"": "", "a developer": `UPDATE revenue SET developer_id = uid('developer', 2) WHERE (lease_id, api_id) IN (SELECT lease_id, api_id FROM revenue ORDER BY earned_at DESC LIMIT 1)`,
		"a row": `DELETE FROM revenue WHERE (lease_id, api_id) IN (SELECT lease_id, api_id FROM revenue ORDER BY earned_at DESC LIMIT 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := byCall(t)
			pool.MustExec(`UPDATE leases SET indexed = 60, indexed_at = now() WHERE indexed_at IS NULL;
			INSERT INTO revenue_ledger (usage_event_id, developer_id, api_id, lease_id, amount, earned_at) SELECT e.id, a.developer_id, e.api_id, e.lease_id, e.amount, e.occurred_at
				FROM usage_events e JOIN apis a ON a.id = e.api_id WHERE e.amount > 0 ON CONFLICT DO NOTHING`)
			next := checkpoint{SealedAt: time.Now().UTC().Truncate(time.Microsecond)}
			err := pool.Get(&next, `SELECT (now() - INTERVAL '3 days')::date AS day, count(*) AS calls, sum(amount) AS amount, sum(`+usageDigest+`) AS digest, 0 AS free_calls, 0 AS free_digest,
				(SELECT count(*) FROM revenue_ledger) AS revenue_rows, (SELECT sum(amount) FROM revenue_ledger) AS revenue, (SELECT sum(`+revenueDigest+`) FROM revenue_ledger r) AS revenue_digest
				FROM usage_events`)
			if err != nil {
				t.Fatal(err)
			}
			next.SealedAt = time.Now().UTC().Truncate(time.Microsecond)
			if err := (&checkpoints{}).seal(t.Context(), pool, next); err != nil {
				t.Fatal(err)
			}
			migrateUp(t, pool)
			pool.MustExec(drift)
			r, err := NewAuditor(pool).AuditAll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(drifts(r), "\n")
			if sealed := strings.Contains(found, "sealed days hold"); sealed != (drift != "") || drift == "" && found != "" {
				t.Error(found)
			}
		})
	}
}

func TestAStepThatWouldLoseRevenueIsRefused(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]string{
		"a lease booked in part has lost a call": `DELETE FROM usage_events WHERE id = (SELECT e.id FROM usage_events e JOIN leases l ON l.id = e.lease_id WHERE l.id = uid('lease', 3) AND e.amount > 0 ORDER BY e.id DESC LIMIT 1)`,
		"revenue has no lease":                   `UPDATE revenue_ledger SET lease_id = gen_random_uuid() WHERE usage_event_id = (SELECT usage_event_id FROM revenue_ledger ORDER BY 1 LIMIT 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := byCall(t)
			pool.MustExec(drift)
			before := ledgerOf(t, pool)
			if _, err := db.Up(t.Context(), pool.DB); err == nil || !strings.Contains(err.Error(), "Nothing was changed") {
				t.Errorf("up: %v", err)
			}
			if got := ledgerOf(t, pool); got != before {
				t.Error("the ledger has changed")
			}
			migrateTo(t, pool, 10)
			if got := ledgerOf(t, pool); got != before {
				t.Error("the ledger has changed on the way back")
			}
		})
	}
	t.Run("revenue is not what its calls come to", func(t *testing.T) {
		t.Parallel()
		for _, drift := range []string{`UPDATE revenue SET amount = amount + 1, calls = calls + 1 WHERE part = 0`, `UPDATE revenue SET calls = calls + 1`, `UPDATE revenue SET user_id = uid('x', 1)`} {
			pool := byCall(t)
			migrateUp(t, pool)
			migrateTo(t, pool, 12)
			pool.MustExec(drift)
			before := ledgerOf(t, pool)
			if _, err := db.Down(t.Context(), pool.DB, false); !errors.Is(err, db.ErrRefused) {
				t.Errorf("down: %v", err)
			}
			if got := ledgerOf(t, pool); got != before {
				t.Error("the ledger has changed")
			}
		}
	})
	t.Run("a newer program has booked on the way down", func(t *testing.T) {
		t.Parallel()
		pool := byCall(t)
		migrateUp(t, pool)
		migrateTo(t, pool, 11)
		if n, err := NewRevenue(pool).IndexRevenue(t.Context(), 10); n != 24 || err != nil {
			t.Fatal(n, err)
		}
		before := ledgerOf(t, pool)
		if _, err := db.Down(t.Context(), pool.DB, false); !errors.Is(err, db.ErrRefused) {
			t.Errorf("down: %v", err)
		}
		migrateUp(t, pool)
		if got := ledgerOf(t, pool); got != before {
			t.Error("the ledger has changed")
		}
		soundMoney(t, pool)
		migrateTo(t, pool, 10)
		if got := ledgerOf(t, pool); got != before {
			t.Error("the ledger has changed on the way back")
		}
	})
}

// A program of before cannot book, and leaves the lease to one that can.
func TestAnOlderProgramBooksNothing(t *testing.T) {
	t.Parallel()
	pool := byCall(t)
	migrateUp(t, pool)
	_, err := pool.Exec(`WITH page AS (SELECT * FROM usage_events WHERE lease_id = uid('lease', 4) AND amount > 0), earned AS (
			INSERT INTO revenue_ledger (usage_event_id, developer_id, api_id, lease_id, amount, earned_at)
			SELECT p.id, a.developer_id, p.api_id, p.lease_id, p.amount, p.occurred_at FROM page p JOIN apis a ON a.id = p.api_id ON CONFLICT DO NOTHING)
		UPDATE leases SET indexed = 60, indexed_at = now() WHERE id = uid('lease', 4)`)
	if err == nil {
		t.Error("it has booked")
	}
	soundMoney(t, pool)
}

// Who reads usage_events keeps the migration waiting, and the migration keeps no charge waiting for long.
func TestCallsAreChargedWhileRevenueIsMigrated(t *testing.T) {
	t.Parallel()
	pool := byCall(t)
	report := pool.MustBegin()
	defer report.Rollback() //nolint:errcheck // read-only
	var n int
	if err := report.Get(&n, `SELECT count(*) FROM usage_events`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := db.Up(context.WithoutCancel(t.Context()), pool.DB)
		done <- err
	}()
	tried, charged := 0, 0
	for tried < 3 { // the migration waits for the report
		if err := pool.Get(&n, `SELECT count(*) FROM pg_locks WHERE relation = 'usage_events'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted`); err != nil {
			t.Fatal(err)
		}
		tried += n
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := pool.ExecContext(ctx, `INSERT INTO usage_events SELECT gen_random_uuid(), NULL, id, id, id, id, 0, 200, 1, now() FROM users LIMIT 1`)
		cancel()
		if err != nil {
			t.Fatalf("a charge waits: %v", err)
		}
		charged++
		select {
		case err := <-done:
			t.Fatal("it did not wait for the report", err)
		default:
		}
	}
	if err := report.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log(fmt.Sprint(charged, " calls were charged meanwhile"))
	soundMoney(t, pool)
}
