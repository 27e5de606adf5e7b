package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

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
	revenue, err := r.booked(ctx, tx)
	if err != nil {
		return err
	}
	r.say("revenue is what was used, once per lease and API", "sum(revenue) + not yet indexed", revenue, "sum(usage)", r.usage, r.revenueOff, r.revenueOn)
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

// booked holds the revenue of each lease against what it says is booked, and names some for which that is not so.
func (r *audit) booked(ctx context.Context, tx *sqlx.Tx) (sum int64, err error) {
	if err := tx.GetContext(ctx, &sum, `SELECT (SELECT COALESCE(sum(amount), 0) FROM revenue)::bigint
		+ (SELECT COALESCE(sum(used - indexed), 0) FROM leases WHERE indexed_at IS NULL)::bigint`); err != nil {
		return 0, fmt.Errorf("add up the revenue: %w", err)
	}
	var off []struct {
		Lease   string `db:"lease"`
		Revenue int64  `db:"revenue"`
		Indexed int64  `db:"indexed"`
		All     int64  `db:"all_of_them"`
	}
	err = tx.SelectContext(ctx, &off, `
	SELECT COALESCE(l.id, r.lease_id)::text AS lease, COALESCE(r.amount, 0)::bigint AS revenue, COALESCE(l.indexed, 0) AS indexed, count(*) OVER () AS all_of_them
	FROM (SELECT lease_id, sum(amount) AS amount FROM revenue GROUP BY lease_id) r
	FULL JOIN (SELECT id, indexed FROM leases WHERE indexed > 0) l ON l.id = r.lease_id
	WHERE r.amount IS DISTINCT FROM l.indexed LIMIT 5`)
	if err != nil {
		return 0, fmt.Errorf("hold the revenue of leases against what they used: %w", err)
	}
	for _, o := range off {
		r.revenueOn = append(r.revenueOn, fmt.Sprintf("lease %s: %s of revenue, booked %s", o.Lease, usdc(o.Revenue), usdc(o.Indexed)))
	}
	if len(off) > 0 {
		r.revenueOff += off[0].All
	}
	return sum, nil
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
		LEFT JOIN (SELECT settlement_id, sum(amount) AS amount FROM revenue WHERE settlement_id IS NOT NULL GROUP BY 1) r
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
