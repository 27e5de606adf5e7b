package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Revenue implements ports.RevenueIndex.
type Revenue struct {
	db   *sqlx.DB
	page int // events that one statement reads at most

	mu    sync.Mutex
	wrong map[id.ID]time.Time // leases that cannot be booked, and when that was found
}

// Calls wait while a statement has a processor: it reads for some milliseconds at most. A lease that cannot be booked
// is tried again after a while, so that it neither keeps others back nor is forgotten.
const (
	revenuePage = 5000
	wrongFor    = 10 * time.Minute
)

// NewRevenue returns the revenue index stored in db.
func NewRevenue(db *sqlx.DB) *Revenue {
	return &Revenue{db: db, page: revenuePage, wrong: map[id.ID]time.Time{}}
}

// The append keeps the bounds of a lease's event ids, so that they need no margin. A lease of a node that did not write them has
// none. Its events are as old as their calls, which began before the lease (a call under an Idempotency-Key that was taken over: up
// to the key's retention before), and end with it. SKIP LOCKED leaves to another node what it is just booking.
const toBook = `
SELECT l.id AS lease_id, v.user_id, l.used, COALESCE(l.first_event, uuid7_floor(l.opened_at - INTERVAL '31 days')) AS first,
    COALESCE(l.last_event, uuid7_floor(l.closed_at + INTERVAL '1 day')) AS last
FROM leases l JOIN vaults v ON v.id = l.vault_id
WHERE l.state = 'closed' AND l.indexed_at IS NULL AND l.id <> ALL ($2::uuid[])
ORDER BY l.closed_at LIMIT $1 FOR UPDATE OF l SKIP LOCKED`

type leaseToBook struct {
	leaseEvents
	Used int64 `db:"used"`
}

// A page of the users' events in their order, added up by lease and API, with how far it has come. The bounds of the ids and
// the size of the page are text and not parameters, so that only the partitions between them are locked and read.
const readRevenue = `
WITH page AS MATERIALIZED (
    SELECT s.n, u.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS s (user_id, first, last, n) CROSS JOIN LATERAL (
        SELECT id, lease_id, api_id, amount, occurred_at FROM usage_events
        WHERE user_id = s.user_id AND id BETWEEN s.first AND s.last AND id BETWEEN '%[1]s' AND '%[2]s'
        ORDER BY id LIMIT %[3]d
    ) u LIMIT %[3]d
), earned AS (
    SELECT lease_id, api_id, count(*) AS calls, sum(amount)::bigint AS amount, max(occurred_at) AS earned_at
    FROM page WHERE lease_id = ANY ($4::uuid[]) AND amount > 0 GROUP BY lease_id, api_id
), reached AS (
    SELECT n, id, (SELECT count(*) FROM page) AS found FROM page ORDER BY n DESC, id DESC LIMIT 1
)
SELECT r.found, r.n AS span, r.id AS reached, e.lease_id, e.api_id, COALESCE(e.calls, 0) AS calls, COALESCE(e.amount, 0) AS amount,
    COALESCE(extract(epoch FROM e.earned_at) * 1000000, 0)::bigint AS earned_us
FROM reached r LEFT JOIN earned e ON true`

// A closed lease takes no more events, and its row is locked, so that none is voided: when the events found come to what it used they are
// all there is, and it is booked. What somebody has booked before is not booked again: the primary key does not let it. The API's
// owner of this moment has earned it.
const bookRevenue = `
WITH earned AS (
    SELECT e.lease_id, e.api_id, a.developer_id, e.calls, e.amount, 'epoch'::timestamptz + e.earned_us * INTERVAL '1 microsecond' AS earned_at
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[]) AS e (lease_id, api_id, calls, amount, earned_us)
    JOIN apis a ON a.id = e.api_id
), whole AS MATERIALIZED (
    SELECT l.id, s.user_id, s.first, s.last
    FROM unnest($6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[]) AS s (lease_id, user_id, first, last) JOIN leases l ON l.id = s.lease_id
    LEFT JOIN (SELECT lease_id, sum(amount) AS amount FROM earned GROUP BY lease_id) e ON e.lease_id = l.id
    WHERE l.state = 'closed' AND l.indexed_at IS NULL AND l.used = COALESCE(e.amount, 0)
), booked AS (
    INSERT INTO revenue (lease_id, api_id, developer_id, user_id, calls, amount, first_event, last_event, earned_at)
    SELECT e.lease_id, e.api_id, e.developer_id, w.user_id, e.calls, e.amount, w.first, w.last, e.earned_at
    FROM earned e JOIN whole w ON w.id = e.lease_id
    ON CONFLICT DO NOTHING
), marked AS (
    UPDATE leases l SET indexed = l.used, indexed_at = clock_timestamp() FROM whole w WHERE l.id = w.id
)
SELECT id FROM whole`

// forPages makes plans for these bounds, not for any, and plans that read a user's events alone (byUser). No page waits for the
// disk, where calls wait to be charged: one that a crash undoes, lease and revenue together, is made again.
const forPages = byUser + `;
SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off;
SET LOCAL synchronous_commit = off`

// byUser lets the planner count rows and not pages: it cannot know how many events of others lie between two ids, and would take the
// primary key to be as good as the index by user.
const byUser = `SET LOCAL seq_page_cost = 0; SET LOCAL random_page_cost = 0`

// IndexRevenue implements ports.RevenueIndex.
func (r *Revenue) IndexRevenue(ctx context.Context, limit int) (int, error) {
	var b booking
	err := inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, forPages); err != nil {
			return fmt.Errorf("plan the booking of revenue: %w", err)
		}
		b = booking{tx: tx, page: r.page, earned: map[id.ID]map[id.ID]*earned{}}
		if err := tx.SelectContext(ctx, &b.leases, toBook, limit, r.leftAlone(time.Now())); err != nil {
			return fmt.Errorf("look for leases to book: %w", err)
		}
		if err := b.read(ctx); err != nil {
			return fmt.Errorf("read the usage of %d leases: %w", len(b.leases), err)
		}
		return b.book(ctx)
	})
	if err != nil {
		return 0, err
	}
	return b.calls, r.leave(b.wrong)
}

// leftAlone are the leases that are not to be tried yet.
func (r *Revenue) leftAlone(now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := newIDArray(len(r.wrong))
	for lease, found := range r.wrong {
		if now.Sub(found) >= wrongFor {
			delete(r.wrong, lease)
			continue
		}
		ids.addID(lease)
	}
	return ids.text()
}

// leave leaves leases that cannot be booked alone for a while, and says which.
func (r *Revenue) leave(wrong []wrongLease) error {
	if len(wrong) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var each []string
	for _, w := range wrong {
		r.wrong[w.lease] = time.Now()
		if len(each) < 10 {
			each = append(each, fmt.Sprintf("%s has used %s USDC, its events come to %s", w.lease, usdc(w.used), usdc(w.found)))
		}
	}
	return fmt.Errorf("%d leases are not booked as revenue, as their usage events do not come to what they used (see `callora audit`; tried again in %s): %s",
		len(wrong), wrongFor, strings.Join(each, "; "))
}
