package postgres

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/ports"
)

// ledger is a database with usage of past days: each has ten charged calls of 3 stroops on two leases, booked on the day,
// and a free call.
type ledger struct {
	*sqlx.DB
	*Auditor
	today time.Time
}

func newLedger(t *testing.T, daysAgo ...int) ledger {
	t.Helper()
	return newLedgerIn(t, dbtest.New(t), daysAgo...)
}

func newLedgerIn(t *testing.T, db *sqlx.DB, daysAgo ...int) ledger {
	t.Helper()
	l := ledger{db, NewAuditor(db), dayOf(time.Now().Add(-settled))}
	db.MustExec(`INSERT INTO users (id) VALUES ('00000000-0000-7000-8000-000000000001')`)
	db.MustExec(`INSERT INTO developers (id, user_id) SELECT id, id FROM users`)
	db.MustExec(`INSERT INTO apis (id, developer_id, slug, name, base_url, category, status) SELECT id, id, 'a', 'a', 'http://x', 'c', 'active' FROM users`)
	db.MustExec(`INSERT INTO vaults (id, user_id, network, balance_snapshot) SELECT id, id, 'testnet', 1000000 FROM users`)
	for _, n := range daysAgo {
		l.plant(l.day(n), l.day(n).Add(12*time.Hour))
	}
	return l
}

func (l ledger) day(ago int) time.Time { return l.today.AddDate(0, 0, -ago) }

// plant adds a day's usage at noon, of leases that were booked at a time.
func (l ledger) plant(day, booked time.Time) {
	noon := day.Add(12 * time.Hour)
	l.MustExec(`
	WITH lease AS (
		INSERT INTO leases (id, vault_id, node_id, granted, used, state, opened_at, expires_at, closed_at, indexed, indexed_at, first_event, last_event)
		SELECT gen_random_uuid(), v.id, v.id, 100, 15, 'closed', $1, $1, $1::timestamptz + INTERVAL '1 minute', 15, $2,
			uuid7_floor($1), uuid7_floor($1::timestamptz + INTERVAL '1 minute')
		FROM vaults v, generate_series(1, 2) RETURNING id
	), event AS (
		INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		SELECT (left(uuid7_floor($1::timestamptz + n * INTERVAL '1 second')::text, 14) || right(gen_random_uuid()::text, 22))::uuid,
			l.id, u.id, u.id, u.id, u.id, CASE WHEN l.id IS NULL THEN 0 ELSE 3 END, 200, 1000, $1
		FROM users u, (SELECT l.id, n FROM lease l, generate_series(1, 5) n UNION ALL SELECT NULL, 1) l RETURNING *
	), owed AS (UPDATE vaults SET uncollected = uncollected + 30)
	INSERT INTO revenue (lease_id, api_id, developer_id, user_id, calls, amount, first_event, last_event, earned_at)
	SELECT lease_id, api_id, api_id, user_id, count(*), sum(amount), uuid7_floor($1), uuid7_floor($1::timestamptz + INTERVAL '1 minute'), max(occurred_at)
	FROM event WHERE lease_id IS NOT NULL GROUP BY lease_id, api_id, user_id`, noon, booked)
}

func (l ledger) audit(t *testing.T, how func(*Auditor) (ports.AuditReport, error)) ports.AuditReport {
	t.Helper()
	r, err := how(l.Auditor)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (l ledger) plain(t *testing.T) ports.AuditReport {
	t.Helper()
	return l.audit(t, func(a *Auditor) (ports.AuditReport, error) { return a.Audit(t.Context()) })
}

func (l ledger) full(t *testing.T) ports.AuditReport {
	t.Helper()
	return l.audit(t, func(a *Auditor) (ports.AuditReport, error) { return a.AuditAll(t.Context()) })
}

// drifts are the invariants that do not hold, with their days.
func drifts(r ports.AuditReport) (all []string) {
	for _, i := range r.Invariants {
		if !i.Holds() {
			all = append(all, i.Name+": "+i.LeftName+" "+i.Left.String()+", "+i.RightName+" "+i.Right.String()+"; "+strings.Join(i.Days, "; "))
		}
	}
	return all
}

func sound(t *testing.T, r ports.AuditReport) {
	t.Helper()
	for _, d := range drifts(r) {
		t.Error(d)
	}
}

func TestAnAuditReadsADayThatIsOverOnce(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 5, 3, 2, 0) // some with a partition and some without
	l.MustExec(`SELECT usage_partitions(0)`)
	first := l.plain(t)
	sound(t, first)
	if first.Sealed != 3 || !first.SealedTo.Equal(l.day(2)) || first.Read != 44 {
		t.Errorf("sealed %d days to %v, read %d events; want the three that are over", first.Sealed, first.SealedTo, first.Read)
	}
	again := l.plain(t)
	sound(t, again)
	if again.Sealed != 0 || again.Read != 11 || again.Chain != first.Chain {
		t.Errorf("sealed %d days, read %d events, chain %s; want only today's, and %s", again.Sealed, again.Read, again.Chain, first.Chain)
	}
	l.plant(l.day(1), l.day(1).Add(13*time.Hour))
	if next := l.plain(t); next.Sealed != 1 || next.Read != 22 || next.Chain == first.Chain {
		t.Errorf("sealed %d days, read %d events", next.Sealed, next.Read)
	}
	all := l.full(t)
	sound(t, all)
	if all.Read != 55 {
		t.Errorf("the full audit read %d events of 55", all.Read)
	}
}

func TestDriftOfNewDaysIsFoundBesideSealedOnes(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]string{
		"an event without its money": `UPDATE usage_events SET amount = amount + 1 WHERE amount > 0 AND occurred_at > now() - INTERVAL '36 hours'`,
		"a lost event":               `DELETE FROM usage_events WHERE amount > 0 AND occurred_at > now() - INTERVAL '36 hours'`,
		"an event of a sealed day's lease": `INSERT INTO usage_events SELECT uuid7_floor(now()), lease_id, user_id, api_id, endpoint_id, api_key_id, 1, 200, 1, now()
			FROM usage_events WHERE lease_id IS NOT NULL ORDER BY id LIMIT 1`,
		"revenue of a lease and of another that cancel out": `UPDATE revenue SET amount = amount + CASE WHEN lease_id =
			(SELECT lease_id FROM revenue ORDER BY earned_at DESC, lease_id LIMIT 1) THEN 1 ELSE -1 END
			WHERE lease_id IN (SELECT lease_id FROM revenue ORDER BY earned_at DESC, lease_id LIMIT 2)`,
		"revenue of a lease's APIs that cancels out": `WITH one AS (UPDATE revenue SET amount = amount - 1 WHERE lease_id = (SELECT lease_id FROM revenue ORDER BY earned_at DESC LIMIT 1) RETURNING *)
			INSERT INTO revenue SELECT lease_id, gen_random_uuid(), 0, developer_id, user_id, 1, 1, NULL, first_event, last_event, earned_at FROM one`,
		"revenue of a call too many": `UPDATE revenue SET calls = calls + 1 WHERE earned_at > now() - INTERVAL '36 hours'`,
		"revenue booked twice": `INSERT INTO revenue SELECT lease_id, api_id, 1, developer_id, user_id, calls, amount, NULL, first_event, last_event, earned_at
			FROM revenue WHERE earned_at > now() - INTERVAL '36 hours'`,
		"revenue that is missing": `DELETE FROM revenue WHERE earned_at > now() - INTERVAL '36 hours'`,
		"revenue of a sealed day": `UPDATE revenue SET amount = amount + 1 WHERE earned_at < now() - INTERVAL '36 hours'`,
		"revenue of sealed leases that cancels out": `UPDATE revenue SET amount = amount + CASE WHEN lease_id =
			(SELECT lease_id FROM revenue ORDER BY earned_at, lease_id LIMIT 1) THEN 1 ELSE -1 END
			WHERE lease_id IN (SELECT lease_id FROM revenue ORDER BY earned_at, lease_id LIMIT 2)`,
		"revenue of a lease that is not booked": `UPDATE leases SET indexed = 0, indexed_at = NULL WHERE closed_at > now() - INTERVAL '36 hours'`,
		"a sealed lease's money":                `UPDATE leases SET used = used + 1, indexed = indexed + 1 WHERE closed_at < now() - INTERVAL '36 hours'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, 4, 3, 0)
			sound(t, l.plain(t))
			l.MustExec(drift)
			if len(drifts(l.plain(t))) == 0 {
				t.Error("the audit sees nothing")
			}
		})
	}
}

func TestAFullAuditFindsWhatWasAlteredInASealedDayAndNamesIt(t *testing.T) {
	t.Parallel()
	const one = ` WHERE id = (SELECT id FROM usage_events WHERE amount > 0 ORDER BY id OFFSET 12 LIMIT 1)` // of the second day
	const free = ` WHERE id = (SELECT id FROM usage_events WHERE lease_id IS NULL ORDER BY id OFFSET 1 LIMIT 1)`
	const earned = ` WHERE lease_id = (SELECT lease_id FROM revenue ORDER BY earned_at OFFSET 2 LIMIT 1)`
	for name, change := range map[string]string{
		"amount":   `UPDATE usage_events SET amount = 4` + one,
		"user":     `UPDATE usage_events SET user_id = gen_random_uuid()` + one,
		"API":      `UPDATE usage_events SET api_id = gen_random_uuid()` + one,
		"endpoint": `UPDATE usage_events SET endpoint_id = gen_random_uuid()` + one,
		"key":      `UPDATE usage_events SET api_key_id = gen_random_uuid()` + one,
		"status":   `UPDATE usage_events SET status_code = 500` + one,
		"latency":  `UPDATE usage_events SET latency_us = 1` + one,
		"time":     `UPDATE usage_events SET occurred_at = occurred_at + INTERVAL '1 microsecond'` + one,
		"lease":    `UPDATE usage_events SET lease_id = (SELECT id FROM leases ORDER BY opened_at LIMIT 1)` + one,
		"deleted, with its money": `WITH gone AS (DELETE FROM usage_events` + one + ` RETURNING *), rev AS (UPDATE revenue r SET calls = calls - 1, amount = r.amount - 3 FROM gone g WHERE r.lease_id = g.lease_id),
			l AS (UPDATE leases SET used = used - 3, indexed = indexed - 3 FROM gone WHERE leases.id = lease_id) UPDATE vaults SET uncollected = uncollected - 3`,
		"added, with its money": `WITH more AS (INSERT INTO usage_events SELECT (left(id::text, 14) || right(gen_random_uuid()::text, 22))::uuid, lease_id, user_id, api_id,
				endpoint_id, api_key_id, amount, 200, 1, occurred_at FROM usage_events` + one + ` RETURNING *),
			rev AS (UPDATE revenue r SET calls = calls + 1, amount = r.amount + 3 FROM more m WHERE r.lease_id = m.lease_id),
			l AS (UPDATE leases SET used = used + 3, indexed = indexed + 3 FROM more WHERE leases.id = lease_id) UPDATE vaults SET uncollected = uncollected + 3`,
		"free call altered":   `UPDATE usage_events SET status_code = 500` + free,
		"free call deleted":   `DELETE FROM usage_events` + free,
		"revenue's developer": `UPDATE revenue SET developer_id = gen_random_uuid()` + earned,
		"revenue's API":       `UPDATE revenue SET api_id = gen_random_uuid()` + earned,
		"revenue's lease":     `UPDATE revenue SET lease_id = gen_random_uuid()` + earned,
		"revenue's consumer":  `UPDATE revenue SET user_id = gen_random_uuid()` + earned,
		"revenue's events":    `UPDATE revenue SET last_event = first_event` + earned,
		"revenue deleted":     `DELETE FROM revenue` + earned,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, 4, 3, 2, 0)
			sound(t, l.plain(t))
			l.MustExec(change)
			found := drifts(l.full(t))
			day := l.day(3).Format(time.DateOnly)
			if !slices.ContainsFunc(found, func(d string) bool { return strings.Contains(d, "sealed") && strings.Contains(d, day) }) {
				t.Errorf("%q; want the day %s", found, day)
			}
			if other := l.day(2).Format(time.DateOnly); strings.Contains(strings.Join(found, ""), other) {
				t.Errorf("%q also blame %s", found, other)
			}
		})
	}
}

func TestAnAuditFindsACheckpointThatIsNotAsItWasWritten(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"amount":   `UPDATE audit_checkpoints SET amount = amount + 1`,
		"calls":    `UPDATE audit_checkpoints SET calls = calls + 1`,
		"digest":   `UPDATE audit_checkpoints SET digest = digest + 1`,
		"free":     `UPDATE audit_checkpoints SET free_calls = free_calls + 1`,
		"revenue":  `UPDATE audit_checkpoints SET revenue = revenue + 1`,
		"time":     `UPDATE audit_checkpoints SET sealed_at = sealed_at + INTERVAL '1 second'`,
		"its seal": `UPDATE audit_checkpoints SET chain = sha256(chain)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, 4, 3, 2, 0)
			sound(t, l.plain(t))
			l.MustExec(change+` WHERE day = $1`, l.day(3))
			for what, r := range map[string]ports.AuditReport{"plain": l.plain(t), "full": l.full(t)} {
				found := drifts(r)
				if len(found) != 1 || !strings.Contains(found[0], l.day(3).Format(time.DateOnly)) {
					t.Errorf("%s: %q; want the day", what, found)
				}
			}
		})
	}
	t.Run("one is gone", func(t *testing.T) {
		t.Parallel()
		l := newLedger(t, 4, 3, 2, 0)
		sound(t, l.plain(t))
		l.MustExec(`DELETE FROM audit_checkpoints WHERE day = $1`, l.day(3))
		if found := drifts(l.plain(t)); len(found) != 1 || !strings.Contains(found[0], l.day(2).Format(time.DateOnly)) {
			t.Errorf("%q; want the day behind it", found)
		}
	})
}
