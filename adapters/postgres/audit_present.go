package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// present proves what may still change: the days that are not final, events that came late, and the vaults and leases.
func (r *audit) present(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, auditSettings); err != nil {
		return fmt.Errorf("prepare to audit: %w", err)
	}
	var used int64
	if err := tx.GetContext(ctx, &used, `SELECT COALESCE(sum(used), 0)::bigint FROM leases`); err != nil {
		return fmt.Errorf("add up the leases: %w", err)
	}
	from := firstID
	if len(r.days) > 0 {
		from = *r.days[len(r.days)-1].hi
	}
	found, err := span{lo: from}.find(ctx, tx, false)
	if err != nil {
		return err
	}
	r.add(span{}, found)
	if len(r.days) > 0 {
		if err := r.late(ctx, tx, from); err != nil {
			return err
		}
	}
	r.say("every lease has used what its usage events cost", "sum(usage)", r.usage, "sum(leases.used)", used, r.leasesOff, r.leasesOn)
	for _, q := range sums[:2] {
		if err := r.ask(ctx, tx, q); err != nil {
			return err
		}
	}
	r.say("revenue is what was used, once per call", "sum(revenue) + not yet indexed", r.revenue+r.notIndexed, "sum(usage)", r.usage, r.revenueOff, r.revenueOn)
	if err := r.ask(ctx, tx, sums[2]); err != nil {
		return err
	}
	if err := r.ask(ctx, tx, sums[3]); err != nil {
		return err
	}
	below := &r.report.Invariants[len(r.report.Invariants)-1]
	below.Offenders += r.negative
	r.saySealed()
	return nil
}

// late adds events that came to a final day after it was sealed, by calls that lasted: those of leases booked since, or not
// yet. Such leases are few, and each is proven from all its events, every time.
func (r *audit) late(ctx context.Context, tx *sqlx.Tx, end string) error {
	ids, times, upTo := r.ends()
	var leases struct {
		IDs   pq.StringArray `db:"ids"`
		First string         `db:"first"`
		Last  string         `db:"last"`
	}
	err := tx.GetContext(ctx, &leases, `
	WITH late AS MATERIALIZED (
		SELECT l.id,`+leaseBounds+` FROM leases l
		WHERE l.used > 0 AND LEAST(width_bucket(l.first_event, $1::uuid[]), width_bucket(l.opened_at - INTERVAL '1 hour', $2::timestamptz[])) < cardinality($1)
			AND NOT COALESCE(l.indexed_at <= ($3::timestamptz[])[1 +
				LEAST(width_bucket(l.first_event, $1::uuid[]), width_bucket(l.opened_at - INTERVAL '1 hour', $2::timestamptz[]))], false)
	)
	SELECT ARRAY (SELECT id FROM late)::text[] AS ids, COALESCE((SELECT first FROM late ORDER BY first LIMIT 1), $4)::text AS first,
		COALESCE((SELECT last FROM late ORDER BY last DESC LIMIT 1), $4)::text AS last`, ids, times, upTo, end)
	if err != nil {
		return fmt.Errorf("look for leases that were booked late: %w", err)
	}
	if len(leases.IDs) == 0 {
		return nil
	}
	off, err := leasesOff(ctx, tx, leases.IDs, leases.First, leases.Last)
	if err != nil {
		return err
	}
	var found spanFound
	err = tx.GetContext(ctx, &found, `
	SELECT count(*) AS rows_read, COALESCE(sum(e.amount), 0)::bigint AS amount, COALESCE(sum(r.amount), 0)::bigint AS revenue,
		COALESCE(sum(e.amount) FILTER (WHERE NOT e.booked), 0)::bigint AS not_indexed,
		count(*) FILTER (WHERE e.amount > 0 AND r.amount IS DISTINCT FROM CASE WHEN e.booked THEN e.amount END) AS revenue_off
	FROM (SELECT e.id, e.amount, l.indexed_at IS NOT NULL OR e.id <= l.indexed_to AS booked, l.indexed_at
		FROM leases l JOIN usage_events e ON e.lease_id = l.id
		WHERE l.id = ANY ($4::uuid[]) AND e.id >= $5 AND e.id < $3) e
	LEFT JOIN revenue_ledger r ON r.usage_event_id = e.id
	WHERE NOT COALESCE(e.indexed_at <= ($2::timestamptz[])[1 + width_bucket(e.id, $1::uuid[])], false)`, ids, upTo, end, leases.IDs, leases.First)
	if err != nil {
		return fmt.Errorf("add up events that came late: %w", err)
	}
	found.LeasesOff = off
	r.add(span{}, found)
	return nil
}

// sums are invariants that a query each proves: it returns both sides and the number of rows that offend. Sums are numeric
// in between, so that the audit itself cannot overflow.
var sums = []struct{ name, left, right, query string }{
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
		"settlements pay revenue that was earned", "sum(settlements)", "sum(revenue they settle)", `
		SELECT COALESCE(sum(s.amount), 0)::bigint, COALESCE(sum(r.amount), 0)::bigint,
		       count(*) FILTER (WHERE s.amount <> COALESCE(r.amount, 0))
		FROM (SELECT id, amount FROM settlements WHERE status <> 'failed') s
		LEFT JOIN (SELECT settlement_id, sum(amount) AS amount FROM revenue_ledger WHERE settlement_id IS NOT NULL GROUP BY 1) r
		  ON r.settlement_id = s.id`,
	},
	{
		"no lease is overdrawn and nothing is below zero", "overdraft", "zero", `
		SELECT COALESCE(sum(o.amount), 0)::bigint, 0::bigint, count(*)
		FROM (SELECT used - granted AS amount FROM leases WHERE used > granted OR used < 0
		      UNION ALL SELECT held FROM vaults WHERE held < 0 OR uncollected < 0 OR balance_snapshot < 0) o`,
	},
}

func (r *audit) ask(ctx context.Context, tx *sqlx.Tx, q struct{ name, left, right, query string }) error {
	var left, right, offenders int64
	if err := tx.QueryRowContext(ctx, q.query).Scan(&left, &right, &offenders); err != nil {
		return fmt.Errorf("audit %q: %w", q.name, err)
	}
	r.say(q.name, q.left, left, q.right, right, offenders, nil)
	return nil
}

func (r *audit) say(name, leftName string, left int64, rightName string, right, offenders int64, days []string) {
	r.report.Invariants = append(r.report.Invariants, ports.Invariant{
		Name: name, LeftName: leftName, Left: money.FromStroops(left), RightName: rightName, Right: money.FromStroops(right),
		Offenders: offenders, Days: days,
	})
}

// saySealed tells of the sealed days: whether they are as they were written, and, when their rows were read, as those.
func (r *audit) saySealed() {
	if r.broken != "" {
		r.differs++
		r.differ = append(r.differ, r.broken+": this checkpoint, or one before it, is not as it was written; nothing is trusted from this day on")
	}
	name, leftName := "sealed days are as they were written", "usage of sealed days"
	left, right := r.trusted(), r.trusted()
	if r.all {
		name, leftName = "sealed days hold the rows that were sealed", "usage of sealed days, as found"
		left, right = r.foundSum, r.sealedSum
	}
	r.say(name, leftName, left, "as sealed", right, r.differs, r.differ)
}

func (r *audit) trusted() (sum int64) {
	for i := range r.sealed {
		sum += r.sealed[i].Amount
	}
	return sum
}
