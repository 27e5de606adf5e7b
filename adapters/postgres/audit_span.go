package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// span is a range of usage event ids: a day of UTC with what is left of the days before it, or all that is behind.
type span struct {
	day  time.Time // its last day; zero when it has no end
	lo   string
	hi   *string   // the first id behind, nil: there is none
	upTo time.Time // events of leases that were booked later are left out; zero: none is
}

// spanFound is what a span's rows add up to, and what is wrong among them.
type spanFound struct {
	dayFacts
	Read       int64 `db:"rows_read"`
	Negative   int64 `db:"negative"`
	LeasesOff  int64 `db:"leases_off"`  // leases that have not used what their events cost, and events without a lease
	RevenueOff int64 `db:"revenue_off"` // leases and APIs whose revenue is not what their events cost
}

// leaseBounds are the ids that a lease's events lie between. Leases from before first_event and last_event were kept, and
// those of nodes that do not keep them, have them around their life.
const leaseBounds = `
	COALESCE(l.first_event, uuid7_floor(l.opened_at - INTERVAL '1 hour')) AS first,
	COALESCE(l.last_event, uuid7_floor(COALESCE(l.closed_at, now()) + INTERVAL '1 hour')) AS last`

// The digests cover every column that says who was charged what for what, and when, and who earned it. A row's is 64 bits, by the
// functions that place rows in hash partitions, one column's hash being the seed of the next. That of revenue is by call, as
// revenue_ledger shows it and as it was sealed before there was a row for all calls of a lease.
const (
	usageDigest = `uuid_hash_extended(id, uuid_hash_extended(COALESCE(lease_id, '` + firstID + `'), uuid_hash_extended(user_id,
		uuid_hash_extended(api_id, uuid_hash_extended(endpoint_id, uuid_hash_extended(api_key_id, hashint8extended(amount,
		hashint2extended(status_code, hashint8extended(latency_us, timestamp_hash_extended(occurred_at AT TIME ZONE 'UTC', 0))))))))))`
	revenueDigest = `uuid_hash_extended(r.usage_event_id, uuid_hash_extended(r.developer_id, uuid_hash_extended(r.api_id,
		uuid_hash_extended(r.lease_id, hashint8extended(r.amount, timestamp_hash_extended(r.earned_at AT TIME ZONE 'UTC', 0))))))`
)

// revenueOff are the leases and APIs whose revenue is not what their events come to: those of a lease that is not booked have
// none. found has what the events of each come to, and whole the leases of which it has all.
const revenueOff = `
off AS (
	SELECT FROM (
		SELECT lease_id, f.api_id, f.calls, f.amount, w.booked FROM found f JOIN whole w USING (lease_id) WHERE f.calls > 0
	) f FULL JOIN (
		SELECT lease_id, api_id, sum(calls) AS calls, sum(amount) AS amount FROM revenue WHERE lease_id IN (SELECT lease_id FROM whole) GROUP BY lease_id, api_id
	) r USING (lease_id, api_id)
	WHERE (COALESCE(r.calls, 0), COALESCE(r.amount, 0)) <> (CASE WHEN f.booked THEN f.calls ELSE 0 END, CASE WHEN f.booked THEN f.amount ELSE 0 END)
)`

// spanUsage holds each lease that has all its events in the span against them, and its revenue; it names those that have
// others elsewhere.
const spanUsage = `
WITH found AS MATERIALIZED (
	SELECT lease_id, api_id, count(*) AS n, count(*) FILTER (WHERE amount > 0) AS calls, sum(amount) AS amount, min(amount) AS least, sum(%s) AS digest
	FROM usage_events WHERE id >= $1 AND ($2::uuid IS NULL OR id < $2) GROUP BY lease_id, api_id
), paid AS MATERIALIZED (
	SELECT f.*, l.id IS NOT NULL AS known, l.used, l.indexed_at IS NOT NULL AS booked,` + leaseBounds + `,
		$3::timestamptz IS NULL OR lease_id IS NULL OR COALESCE(l.indexed_at <= $3, false) AS counts
	FROM (
		SELECT lease_id, sum(n) AS n, sum(amount) AS amount, min(least) AS least, sum(digest) AS digest FROM found GROUP BY lease_id
	) f LEFT JOIN leases l ON l.id = f.lease_id
), whole AS MATERIALIZED (
	SELECT lease_id, booked FROM paid WHERE known AND first >= $1 AND COALESCE(last < $2, true)
), ` + revenueOff + `
SELECT COALESCE(sum(n) FILTER (WHERE counts AND lease_id IS NOT NULL), 0)::bigint AS calls,
	COALESCE(sum(amount) FILTER (WHERE counts), 0)::bigint AS amount,
	COALESCE(sum(digest) FILTER (WHERE counts AND lease_id IS NOT NULL), 0) AS digest,
	COALESCE(sum(n) FILTER (WHERE lease_id IS NULL), 0)::bigint AS free_calls,
	COALESCE(sum(digest) FILTER (WHERE lease_id IS NULL), 0) AS free_digest,
	COALESCE(sum(n), 0)::bigint AS rows_read, count(*) FILTER (WHERE least < 0) AS negative,
	count(*) FILTER (WHERE lease_id IS NOT NULL AND (NOT known OR first >= $2 OR last < $1 OR
		first >= $1 AND COALESCE(last < $2, true) AND used <> amount)) AS leases_off,
	(SELECT count(*) FROM off) AS revenue_off,
	ARRAY (SELECT lease_id FROM paid WHERE known AND (first < $1 OR last >= $2))::text[] AS beyond
FROM paid`

// spanRevenue adds up the revenue of the span's events, by call.
const spanRevenue = `
SELECT count(*) AS revenue_rows, COALESCE(sum(r.amount), 0)::bigint AS revenue, COALESCE(sum(` + revenueDigest + `), 0) AS revenue_digest
FROM revenue_ledger r JOIN leases l ON l.id = r.lease_id
WHERE r.usage_event_id >= $1 AND ($2::uuid IS NULL OR r.usage_event_id < $2) AND ($3::timestamptz IS NULL OR COALESCE(l.indexed_at <= $3, false))`

var (
	sumUsage    = fmt.Sprintf(spanUsage, "0")
	digestUsage = fmt.Sprintf(spanUsage, usageDigest)
)

// find reads the rows of a span; with digests when they are to be sealed or compared.
func (s span) find(ctx context.Context, tx *sqlx.Tx, digests bool) (found spanFound, err error) {
	query := sumUsage
	if digests {
		query = digestUsage
	}
	var usage struct {
		spanFound
		Beyond pq.StringArray `db:"beyond"`
	}
	if err := tx.GetContext(ctx, &usage, query, s.lo, s.hi, nullTime(s.upTo)); err != nil {
		return found, fmt.Errorf("add up the usage of %s: %w", s.name(), err)
	}
	found = usage.spanFound
	if digests {
		var revenue dayFacts
		if err := tx.GetContext(ctx, &revenue, spanRevenue, s.lo, s.hi, nullTime(s.upTo)); err != nil {
			return found, fmt.Errorf("add up the revenue of %s: %w", s.name(), err)
		}
		found.RevenueRows, found.Revenue, found.RevenueDigest = revenue.RevenueRows, revenue.Revenue, revenue.RevenueDigest
		if found.Revenue != found.Amount && found.RevenueOff == 0 {
			found.RevenueOff = 1 // the rows have the right sums, and name other events
		}
	}
	beyond, err := proveLeases(ctx, tx, usage.Beyond)
	found.LeasesOff += beyond.LeasesOff
	found.RevenueOff += beyond.RevenueOff
	return found, err
}

func (s span) name() string {
	if s.day.IsZero() {
		return "the days since"
	}
	return s.day.Format(time.DateOnly)
}
