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
	NotIndexed int64 `db:"not_indexed"` // money whose revenue is still to be booked
	RevenueOff int64 `db:"revenue_off"` // rows of revenue without their event, or not the same, and the other way round
}

// leaseBounds are the ids that a lease's events lie between. Leases from before first_event and last_event were kept, and
// those of nodes that do not keep them, have them around their life.
const leaseBounds = `
	LEAST(l.first_event, uuid7_floor(l.opened_at - INTERVAL '1 hour')) AS first,
	GREATEST(l.last_event, uuid7_floor(COALESCE(l.closed_at, now()) + INTERVAL '1 hour')) AS last`

// The digests cover every column that says who was charged what for what, and when. A row's is 64 bits, by the functions
// that place rows in hash partitions, one column's hash being the seed of the next.
const (
	usageDigest = `uuid_hash_extended(id, uuid_hash_extended(COALESCE(lease_id, '` + firstID + `'), uuid_hash_extended(user_id,
		uuid_hash_extended(api_id, uuid_hash_extended(endpoint_id, uuid_hash_extended(api_key_id, hashint8extended(amount,
		hashint2extended(status_code, hashint8extended(latency_us, timestamp_hash_extended(occurred_at AT TIME ZONE 'UTC', 0))))))))))`
	revenueDigest = `uuid_hash_extended(r.usage_event_id, uuid_hash_extended(r.developer_id, uuid_hash_extended(r.api_id,
		uuid_hash_extended(r.lease_id, hashint8extended(r.amount, timestamp_hash_extended(r.earned_at AT TIME ZONE 'UTC', 0))))))`
)

// spanUsage holds each lease that has all its events in the span against them, and names those that have others elsewhere.
const spanUsage = `
WITH found AS MATERIALIZED (
	SELECT lease_id, count(*) AS n, sum(amount) AS amount, min(amount) AS least, sum(%s) AS digest
	FROM usage_events WHERE id >= $1 AND ($2::uuid IS NULL OR id < $2) GROUP BY lease_id
), paid AS MATERIALIZED (
	SELECT f.*, l.id IS NOT NULL AS known, l.used,` + leaseBounds + `,
		$3::timestamptz IS NULL OR lease_id IS NULL OR COALESCE(l.indexed_at <= $3, false) AS counts
	FROM found f LEFT JOIN leases l ON l.id = f.lease_id
), beyond AS MATERIALIZED (
	SELECT * FROM paid WHERE known AND (first < $1 OR last >= $2)
)
SELECT COALESCE(sum(n) FILTER (WHERE counts AND lease_id IS NOT NULL), 0)::bigint AS calls,
	COALESCE(sum(amount) FILTER (WHERE counts), 0)::bigint AS amount,
	COALESCE(sum(digest) FILTER (WHERE counts AND lease_id IS NOT NULL), 0) AS digest,
	COALESCE(sum(n) FILTER (WHERE lease_id IS NULL), 0)::bigint AS free_calls,
	COALESCE(sum(digest) FILTER (WHERE lease_id IS NULL), 0) AS free_digest,
	COALESCE(sum(n), 0)::bigint AS rows_read, count(*) FILTER (WHERE least < 0) AS negative,
	count(*) FILTER (WHERE lease_id IS NOT NULL AND (NOT known OR first >= $2 OR last < $1 OR
		first >= $1 AND COALESCE(last < $2, true) AND used <> amount)) AS leases_off,
	ARRAY (SELECT lease_id FROM beyond)::text[] AS beyond,
	COALESCE((SELECT first FROM beyond ORDER BY first LIMIT 1), $1)::text AS beyond_first,
	COALESCE((SELECT last FROM beyond ORDER BY last DESC LIMIT 1), $1)::text AS beyond_last
FROM paid`

// spanRevenue holds the revenue of the span's events against them.
const spanRevenue = `
SELECT count(r.id) FILTER (WHERE r.counts) AS revenue_rows, COALESCE(sum(r.amount) FILTER (WHERE r.counts), 0)::bigint AS revenue,
	COALESCE(sum(r.digest) FILTER (WHERE r.counts), 0) AS revenue_digest,
	COALESCE(sum(u.amount) FILTER (WHERE u.counts AND NOT u.booked), 0)::bigint AS not_indexed,
	count(*) FILTER (WHERE r.amount <= 0) AS negative,
	count(*) FILTER (WHERE r.amount IS DISTINCT FROM CASE WHEN u.booked THEN u.amount END OR r.lease_id <> u.lease_id OR r.api_id <> u.api_id) AS revenue_off
FROM (
	SELECT e.id, e.lease_id, e.api_id, e.amount, l.indexed_at IS NOT NULL OR e.id <= l.indexed_to AS booked,
		$3::timestamptz IS NULL OR COALESCE(l.indexed_at <= $3, false) AS counts
	FROM usage_events e JOIN leases l ON l.id = e.lease_id WHERE e.id >= $1 AND ($2::uuid IS NULL OR e.id < $2) AND e.amount > 0
) u FULL JOIN (
	SELECT r.usage_event_id AS id, r.lease_id, r.api_id, r.amount, %s AS digest,
		$3::timestamptz IS NULL OR COALESCE(l.indexed_at <= $3, false) AS counts
	FROM revenue_ledger r LEFT JOIN leases l ON l.id = r.lease_id WHERE r.usage_event_id >= $1 AND ($2::uuid IS NULL OR r.usage_event_id < $2)
) r ON r.id = u.id`

var (
	spanQueries   = [2]string{fmt.Sprintf(spanUsage, "0"), fmt.Sprintf(spanRevenue, "0")}
	digestQueries = [2]string{fmt.Sprintf(spanUsage, usageDigest), fmt.Sprintf(spanRevenue, revenueDigest)}
)

// find reads the rows of a span; with digests when they are to be sealed or compared.
func (s span) find(ctx context.Context, tx *sqlx.Tx, digests bool) (found spanFound, err error) {
	queries := spanQueries
	if digests {
		queries = digestQueries
	}
	var usage struct {
		spanFound
		Beyond pq.StringArray `db:"beyond"`
		First  string         `db:"beyond_first"`
		Last   string         `db:"beyond_last"`
	}
	if err := tx.GetContext(ctx, &usage, queries[0], s.lo, s.hi, nullTime(s.upTo)); err != nil {
		return found, fmt.Errorf("add up the usage of %s: %w", s.name(), err)
	}
	found = usage.spanFound
	var revenue spanFound
	if err := tx.GetContext(ctx, &revenue, queries[1], s.lo, s.hi, nullTime(s.upTo)); err != nil {
		return found, fmt.Errorf("add up the revenue of %s: %w", s.name(), err)
	}
	found.RevenueRows, found.Revenue, found.RevenueDigest = revenue.RevenueRows, revenue.Revenue, revenue.RevenueDigest
	found.NotIndexed, found.RevenueOff = revenue.NotIndexed, revenue.RevenueOff
	found.Negative += revenue.Negative
	off, err := leasesOff(ctx, tx, usage.Beyond, usage.First, usage.Last)
	found.LeasesOff += off
	return found, err
}

// leasesOff counts those of the leases that have not used what their events, all between first and last, cost.
func leasesOff(ctx context.Context, tx *sqlx.Tx, leases []string, first, last string) (off int64, err error) {
	if len(leases) == 0 {
		return 0, nil
	}
	const query = `SELECT count(*) FROM leases l WHERE l.id = ANY ($1::uuid[]) AND l.used <>
		(SELECT COALESCE(sum(e.amount), 0) FROM usage_events e WHERE e.lease_id = l.id AND e.id >= $2 AND e.id <= $3)`
	if err := tx.GetContext(ctx, &off, query, pq.StringArray(leases), first, last); err != nil {
		return 0, fmt.Errorf("add up the usage of %d leases: %w", len(leases), err)
	}
	return off, nil
}

func (s span) name() string {
	if s.day.IsZero() {
		return "the days since"
	}
	return s.day.Format(time.DateOnly)
}
