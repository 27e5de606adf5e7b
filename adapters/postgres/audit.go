package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Auditor implements ports.Auditor. A day that cannot change any more is proven once, from its rows, and sealed in
// audit_checkpoints; the other days are proven each time (docs/decisions/0020).
type Auditor struct{ db *sqlx.DB }

// NewAuditor returns the auditor of db.
func NewAuditor(db *sqlx.DB) *Auditor { return &Auditor{db} }

// Invariants implements ports.Auditor. It seals nothing.
func (a *Auditor) Invariants(ctx context.Context) ([]ports.Invariant, error) {
	r, err := a.run(ctx, audit{})
	return r.Invariants, err
}

// Audit proves what is new since the last audit, and seals the days that are over.
func (a *Auditor) Audit(ctx context.Context) (ports.AuditReport, error) {
	return a.run(ctx, audit{seals: true})
}

// AuditAll proves everything from the rows, and holds the sealed days against them.
func (a *Auditor) AuditAll(ctx context.Context) (ports.AuditReport, error) {
	return a.run(ctx, audit{all: true, seals: true})
}

// audit is one run.
type audit struct {
	all, seals bool

	checkpoints
	begun  time.Time // by the database's clock; what was booked until then is final
	final  time.Time // the first day that may still change
	days   []span    // the days before, that are read or trusted
	report ports.AuditReport

	usage                           int64 // the sum of all days
	leasesOff, revenueOff, negative int64
	leasesOn, revenueOn, differ     []string // days
	sealedSum, differs              int64
	foundSum                        int64
}

func (a *Auditor) run(ctx context.Context, r audit) (ports.AuditReport, error) {
	var err error
	if r.checkpoints, err = loadCheckpoints(ctx, a.db); err != nil {
		return r.report, err
	}
	if err := a.limits(ctx, &r); err != nil {
		return r.report, err
	}
	if err := a.finalDays(ctx, &r); err != nil {
		return r.report, err
	}
	// the rest on one snapshot, for it changes meanwhile
	if err := inSnapshot(ctx, a.db, func(tx *sqlx.Tx) error { return r.present(ctx, tx) }); err != nil {
		return r.report, fmt.Errorf("audit what may still change: %w", err)
	}
	if last := r.last(); last != nil {
		r.report.SealedTo, r.report.Chain = last.Day, hexOf(last.Chain)
	}
	return r.report, nil
}

// settled is how long a day must be over: the clocks of nodes and database may differ by as much.
const settled = time.Hour

// limits finds the days that cannot change any more: those before the first one of which a lease is not booked. The time
// is taken first, so that whatever is booked later, or by a transaction that was open, is later than it or seen as open.
func (a *Auditor) limits(ctx context.Context, r *audit) error {
	if err := a.db.GetContext(ctx, &r.begun, `SELECT clock_timestamp()`); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	var first struct {
		Day sql.NullTime `db:"day"`
	}
	err := a.db.GetContext(ctx, &first, `SELECT usage_day(l.first) AS day FROM (
		SELECT `+leaseBounds+` FROM leases l WHERE l.indexed_at IS NULL AND l.used > 0) l ORDER BY l.first LIMIT 1`)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look for leases that are not booked: %w", err)
	}
	r.final = dayOf(r.begun.Add(-settled))
	if first.Day.Valid && first.Day.Time.Before(r.final) {
		r.final = dayOf(first.Day.Time)
	}
	if last := r.last(); last != nil && !r.final.After(last.Day) {
		r.final = last.Day.AddDate(0, 0, 1) // an event has come late, see late
	}
	return nil
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// finalDays proves the days that cannot change any more, each in a transaction of its own: together they may be thousands
// of partitions. Sealed ones are trusted, or read to be compared.
func (a *Auditor) finalDays(ctx context.Context, r *audit) error {
	days, err := a.daysBefore(ctx, r.final)
	if err != nil {
		return err
	}
	sealed := map[time.Time]*checkpoint{}
	for i := range r.sealed {
		sealed[dayOf(r.sealed[i].Day)] = &r.sealed[i]
	}
	var end time.Time // of what is sealed
	if last := r.last(); last != nil {
		end = dayOf(last.Day)
	}
	lo := firstID
	for _, day := range merged(days, sealed) {
		s := span{day: day, lo: lo, upTo: r.begun}
		hi := floorOf(day.AddDate(0, 0, 1))
		s.hi, lo = &hi, hi
		c := sealed[day]
		if c != nil {
			s.upTo = c.SealedAt
		}
		if !r.all && !day.After(end) {
			if c != nil {
				r.trust(s, c)
			}
			continue
		}
		var found spanFound
		if err := a.inAuditTx(ctx, func(tx *sqlx.Tx) (err error) { found, err = s.find(ctx, tx, r.all || r.seals); return err }); err != nil {
			return err
		}
		if !r.add(s, found) {
			r.seals = false // the days behind a drift wait for it to be explained
		}
		switch {
		case !day.After(end):
			if c == nil {
				c = &checkpoint{Day: day}
			}
			r.compare(c, found.dayFacts)
		case r.seals && r.broken == "":
			r.seal(ctx, a.db, checkpoint{Day: day, SealedAt: r.begun, dayFacts: found.dayFacts})
		}
	}
	return nil
}

// seal writes a checkpoint; who cannot goes on without, and says so once.
func (r *audit) seal(ctx context.Context, db *sqlx.DB, c checkpoint) {
	err := r.checkpoints.seal(ctx, db, c)
	switch {
	case err == nil:
		r.report.Sealed++
		return
	case mayNotWrite(err):
		r.note("nothing is sealed, and the next audit reads the same days again: this role may not write audit_checkpoints")
	default:
		r.note("nothing more is sealed by this audit: " + err.Error())
	}
	r.seals = false
}

func (r *audit) note(text string) { r.report.Notes = append(r.report.Notes, text) }

// inAuditTx reads at one moment, with room to sort and a plan for each day.
func (a *Auditor) inAuditTx(ctx context.Context, read func(*sqlx.Tx) error) error {
	return inSnapshot(ctx, a.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, auditSettings); err != nil {
			return fmt.Errorf("prepare to audit: %w", err)
		}
		return read(tx)
	})
}

// A plan for each day's own bounds reads, and locks, that day's partition alone.
const auditSettings = `SET LOCAL work_mem = '64MB'; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off`

func usdc(stroops int64) money.Amount { return money.FromStroops(stroops) }
