package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Revenue implements ports.RevenueIndex.
type Revenue struct{ db *sqlx.DB }

// NewRevenue returns the revenue index stored in db.
func NewRevenue(db *sqlx.DB) *Revenue { return &Revenue{db} }

// A closed lease takes no more events and gives none up, so what it has is final. SKIP LOCKED lets several nodes index
// side by side; the primary key makes a second row for an event impossible.
const indexRevenue = `
WITH ready AS MATERIALIZED (
    SELECT id FROM leases WHERE state = 'closed' AND indexed_at IS NULL
    ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED
), earned AS (
    INSERT INTO revenue_ledger (usage_event_id, developer_id, api_id, lease_id, amount, earned_at)
    SELECT u.id, a.developer_id, u.api_id, u.lease_id, u.amount, u.occurred_at
    FROM usage_events u JOIN apis a ON a.id = u.api_id
    WHERE u.lease_id IN (SELECT id FROM ready) AND u.amount > 0
    ON CONFLICT DO NOTHING
    RETURNING 1
), marked AS (
    UPDATE leases l SET indexed_at = clock_timestamp() FROM ready r WHERE l.id = r.id
)
SELECT count(*) FROM earned`

// IndexRevenue implements ports.RevenueIndex.
func (r *Revenue) IndexRevenue(ctx context.Context, limit int) (int, error) {
	var n int
	if err := r.db.GetContext(ctx, &n, indexRevenue, limit); err != nil {
		return 0, fmt.Errorf("index revenue: %w", err)
	}
	return n, nil
}
