package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Auditor implements ports.Auditor.
type Auditor struct{ db *sqlx.DB }

// NewAuditor returns the auditor of db.
func NewAuditor(db *sqlx.DB) *Auditor { return &Auditor{db} }

// invariants: each query returns left, right and the number of rows that offend. Sums are numeric in between, so that the
// audit itself cannot overflow.
var invariants = []struct{ name, left, right, query string }{
	{
		"every lease has used what its usage events cost", "sum(usage)", "sum(leases.used)", `
		SELECT COALESCE(sum(e.amount), 0)::bigint, COALESCE(sum(l.used), 0)::bigint,
		       count(*) FILTER (WHERE COALESCE(e.amount, 0) <> COALESCE(l.used, 0))
		FROM leases l FULL JOIN (SELECT lease_id, sum(amount) AS amount FROM usage_events WHERE lease_id IS NOT NULL GROUP BY 1) e
		  ON e.lease_id = l.id`,
	},
	{
		"vaults hold what their open leases were granted", "sum(held)", "sum(granted of open leases)", `
		SELECT COALESCE(sum(v.held), 0)::bigint, COALESCE(sum(l.granted), 0)::bigint,
		       count(*) FILTER (WHERE v.held <> COALESCE(l.granted, 0))
		FROM vaults v LEFT JOIN (SELECT vault_id, sum(granted) AS granted FROM leases WHERE state = 'open' GROUP BY 1) l
		  ON l.vault_id = v.id`,
	},
	{
		"vaults owe what their closed leases used", "sum(uncollected)", "sum(used of closed leases)", `
		SELECT COALESCE(sum(v.uncollected), 0)::bigint, COALESCE(sum(l.used), 0)::bigint,
		       count(*) FILTER (WHERE v.uncollected <> COALESCE(l.used, 0))
		FROM vaults v LEFT JOIN (SELECT vault_id, sum(used) AS used FROM leases WHERE state = 'closed' GROUP BY 1) l
		  ON l.vault_id = v.id`,
	},
	{
		"revenue is what was used, once per call", "sum(revenue) + not yet indexed", "sum(usage)", `
		SELECT (COALESCE(sum(r.amount), 0) + COALESCE(sum(u.amount) FILTER (WHERE NOT u.indexed), 0))::bigint,
		       COALESCE(sum(u.amount), 0)::bigint,
		       count(*) FILTER (WHERE r.amount IS DISTINCT FROM CASE WHEN u.indexed THEN u.amount END)
		FROM (SELECT e.id, e.amount, l.indexed_at IS NOT NULL OR e.id <= l.indexed_to AS indexed
		      FROM usage_events e JOIN leases l ON l.id = e.lease_id WHERE e.amount > 0) u
		FULL JOIN revenue_ledger r ON r.usage_event_id = u.id`,
	},
	{
		"settlements pay revenue that was earned", "sum(settlements)", "sum(revenue they settle)", `
		SELECT COALESCE(sum(s.amount), 0)::bigint, COALESCE(sum(r.amount), 0)::bigint,
		       count(*) FILTER (WHERE s.amount <> COALESCE(r.amount, 0))
		FROM (SELECT id, amount FROM settlements WHERE status <> 'failed') s
		LEFT JOIN (SELECT settlement_id, sum(amount) AS amount FROM revenue_ledger GROUP BY 1) r ON r.settlement_id = s.id`,
	},
	{
		"no lease is overdrawn and nothing is below zero", "overdraft", "zero", `
		SELECT COALESCE(sum(o.amount), 0)::bigint, 0::bigint, count(*)
		FROM (SELECT used - granted AS amount FROM leases WHERE used > granted OR used < 0
		      UNION ALL SELECT held FROM vaults WHERE held < 0 OR uncollected < 0 OR balance_snapshot < 0
		      UNION ALL SELECT amount FROM usage_events WHERE amount < 0
		      UNION ALL SELECT amount FROM revenue_ledger WHERE amount <= 0) o`,
	},
}

// Invariants implements ports.Auditor.
func (a *Auditor) Invariants(ctx context.Context) (found []ports.Invariant, err error) {
	tx, err := a.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("begin the audit: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // read-only
	for _, q := range invariants {
		var left, right, offenders int64
		if err := tx.QueryRowContext(ctx, q.query).Scan(&left, &right, &offenders); err != nil {
			return nil, fmt.Errorf("audit %q: %w", q.name, err)
		}
		found = append(found, ports.Invariant{
			Name: q.name, LeftName: q.left, Left: money.FromStroops(left),
			RightName: q.right, Right: money.FromStroops(right), Offenders: offenders,
		})
	}
	return found, nil
}
