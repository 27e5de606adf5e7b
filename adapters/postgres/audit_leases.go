package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// spanEvents are the usage events of some leases, $1, among those of their users in spans, $2 to $4, that lie between $5 and $6.
const spanEvents = `unnest($2::uuid[], $3::uuid[], $4::uuid[]) AS s (user_id, first, last) CROSS JOIN LATERAL (
		SELECT id, lease_id, api_id, amount FROM usage_events
		WHERE user_id = s.user_id AND id BETWEEN s.first AND s.last AND id BETWEEN $5 AND $6 OFFSET 0
	) e`

// eventsOf returns the arguments of spanEvents.
func eventsOf(ctx context.Context, tx *sqlx.Tx, leases []string) ([]any, error) {
	var where []leaseEvents
	err := tx.SelectContext(ctx, &where, `SELECT l.id AS lease_id, v.user_id,`+leaseBounds+`
		FROM leases l JOIN vaults v ON v.id = l.vault_id WHERE l.id = ANY ($1::uuid[])`, pq.StringArray(leases))
	if err != nil {
		return nil, fmt.Errorf("look where the usage of %d leases is: %w", len(leases), err)
	}
	spans := spansOf(where, func(e leaseEvents) leaseEvents { return e })
	if len(spans) == 0 {
		spans = []eventSpan{{last: id.ID{}}}
	}
	users, firsts, lasts, first, last := spanArrays(spans)
	return []any{pq.StringArray(leases), users, firsts, lasts, first, last}, nil
}

// getByUser gets what is found by users' events alone.
func getByUser(ctx context.Context, tx *sqlx.Tx, found *spanFound, query string, args ...any) error {
	if _, err := tx.ExecContext(ctx, byUser); err != nil {
		return err
	}
	if err := tx.GetContext(ctx, found, query, args...); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `RESET seq_page_cost; RESET random_page_cost`)
	return err
}

// proveLeases holds leases against all their events, wherever these are, and against their revenue.
func proveLeases(ctx context.Context, tx *sqlx.Tx, leases []string) (found spanFound, err error) {
	if len(leases) == 0 {
		return found, nil
	}
	args, err := eventsOf(ctx, tx, leases)
	if err != nil {
		return found, err
	}
	err = getByUser(ctx, tx, &found, `
	WITH found AS MATERIALIZED (
		SELECT e.lease_id, e.api_id, count(*) FILTER (WHERE e.amount > 0) AS calls, sum(e.amount) AS amount
		FROM `+spanEvents+` WHERE e.lease_id = ANY ($1::uuid[]) GROUP BY e.lease_id, e.api_id
	), whole AS MATERIALIZED (
		SELECT l.id AS lease_id, l.used, l.indexed_at IS NOT NULL AS booked FROM leases l WHERE l.id = ANY ($1::uuid[])
	), `+revenueOff+`
	SELECT (SELECT count(*) FROM off) AS revenue_off, (
		SELECT count(*) FROM whole w LEFT JOIN (SELECT lease_id, sum(amount) AS amount FROM found GROUP BY lease_id) f USING (lease_id)
		WHERE w.used <> COALESCE(f.amount, 0)) AS leases_off`, args...)
	if err != nil {
		return found, fmt.Errorf("add up the usage of %d leases: %w", len(leases), err)
	}
	return found, nil
}

// late adds events that came to a final day after it was sealed, by calls that lasted: those of leases booked since, or not
// yet. Such leases are few, and each is proven from all its events, every time.
func (r *audit) late(ctx context.Context, tx *sqlx.Tx, end string) error {
	ids, times, upTo := r.ends()
	var leases []string
	err := tx.SelectContext(ctx, &leases, `
	SELECT l.id FROM (
		SELECT id, indexed_at, CASE WHEN first_event IS NULL THEN width_bucket(opened_at - INTERVAL '1 hour', $2::timestamptz[])
			ELSE width_bucket(first_event, $1::uuid[]) END AS days
		FROM leases WHERE used > 0
	) l WHERE l.days < cardinality($1::uuid[]) AND NOT COALESCE(l.indexed_at <= ($3::timestamptz[])[1 + l.days], false)`, ids, times, upTo)
	if err != nil {
		return fmt.Errorf("look for leases that were booked late: %w", err)
	}
	if len(leases) == 0 {
		return nil
	}
	found, err := proveLeases(ctx, tx, leases)
	if err != nil {
		return err
	}
	args, err := eventsOf(ctx, tx, leases)
	if err != nil {
		return err
	}
	err = getByUser(ctx, tx, &found, `
	SELECT count(*) AS rows_read, COALESCE(sum(e.amount), 0)::bigint AS amount
	FROM `+spanEvents+` JOIN leases l ON l.id = e.lease_id
	WHERE l.id = ANY ($1::uuid[]) AND e.id < $7 AND NOT COALESCE(l.indexed_at <= ($9::timestamptz[])[1 + width_bucket(e.id, $8::uuid[])], false)`,
		append(args, end, ids, upTo)...)
	if err != nil {
		return fmt.Errorf("add up events that came late: %w", err)
	}
	r.add(span{}, found)
	return nil
}
