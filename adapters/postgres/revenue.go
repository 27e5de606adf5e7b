package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Revenue implements ports.RevenueIndex.
type Revenue struct {
	db    *sqlx.DB
	index prepared
}

// NewRevenue returns the revenue index stored in db.
func NewRevenue(db *sqlx.DB) *Revenue { return &Revenue{db: db, index: prepared{query: indexRevenue}} }

// A closed lease takes no more events and gives none up, so that its events can be gone through by their ids, a page at a
// time; it is done when the money of its pages is what it used. SKIP LOCKED lets several nodes index side by side; the
// primary key makes a second row for an event impossible.
const indexRevenue = `
WITH ready AS MATERIALIZED (
    SELECT id, used, indexed, indexed_to FROM leases WHERE state = 'closed' AND indexed_at IS NULL
    ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED
), page AS MATERIALIZED (
    SELECT u.* FROM ready r CROSS JOIN LATERAL (
        SELECT id, lease_id, api_id, amount, occurred_at FROM usage_events
        WHERE lease_id = r.id AND id > r.indexed_to AND amount > 0
        ORDER BY id LIMIT $1
    ) u LIMIT $1
), earned AS (
    INSERT INTO revenue_ledger (usage_event_id, developer_id, api_id, lease_id, amount, earned_at)
    SELECT p.id, a.developer_id, p.api_id, p.lease_id, p.amount, p.occurred_at FROM page p JOIN apis a ON a.id = p.api_id
    ON CONFLICT DO NOTHING
), marked AS (
    UPDATE leases l
    SET indexed = r.indexed + s.amount, indexed_to = s.last,
        indexed_at = CASE WHEN r.indexed + s.amount = r.used THEN clock_timestamp() END
    FROM ready r, (
        SELECT lease_id, sum(amount)::bigint AS amount, max(id::text COLLATE "C")::uuid AS last FROM page GROUP BY lease_id
    ) s
    WHERE l.id = r.id AND r.id = s.lease_id
)
SELECT count(*) FROM page`

// forPages makes one plan that reads a lease's events by their index: left to itself the planner may expect few of them,
// and then reads and sorts all that a lease has for each page. No page waits for the disk, where calls wait to be charged:
// one that a crash undoes, lease and rows together, is written again.
const forPages = `
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_sort = off; SET LOCAL jit = off;
SET LOCAL synchronous_commit = off`

// IndexRevenue implements ports.RevenueIndex.
func (r *Revenue) IndexRevenue(ctx context.Context, limit int) (int, error) {
	stmt, err := r.index.on(ctx, r.db)
	if err != nil {
		return 0, fmt.Errorf("prepare to index revenue: %w", err)
	}
	var n int
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, forPages); err != nil {
			return fmt.Errorf("plan the index of revenue: %w", err)
		}
		if err := tx.StmtxContext(ctx, stmt).GetContext(ctx, &n, limit); err != nil {
			return fmt.Errorf("index revenue: %w", err)
		}
		return nil
	})
	return n, err
}
