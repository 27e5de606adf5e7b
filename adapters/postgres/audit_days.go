package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

const firstID = "00000000-0000-0000-0000-000000000000"

// floorOf is the first UUIDv7 of a moment, as uuid7_floor has it.
func floorOf(t time.Time) string {
	var u id.ID
	ms := t.UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	return u.String()
}

// daysBefore returns the days that may have events: those with a partition, and those of events in the default one.
func (a *Auditor) daysBefore(ctx context.Context, end time.Time) ([]time.Time, error) {
	var days []time.Time
	const partitions = `
	SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
	WHERE i.inhparent = 'usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{8}$' AND right(c.relname, 8) < to_char($1::date, 'YYYYMMDD')`
	const others = `
	WITH RECURSIVE found AS (
		(SELECT usage_day(id) AS day FROM usage_events_default ORDER BY id LIMIT 1)
		UNION ALL
		SELECT (SELECT usage_day(u.id) FROM usage_events_default u WHERE u.id >= usage_day_floor(f.day + 1) ORDER BY u.id LIMIT 1)
		FROM found f WHERE f.day < $1::date
	) SELECT day FROM found WHERE day < $1::date`
	for _, query := range []string{partitions, others} {
		var more []time.Time
		if err := a.db.SelectContext(ctx, &more, query, end); err != nil {
			return nil, fmt.Errorf("list the days with usage events: %w", err)
		}
		days = append(days, more...)
	}
	return days, nil
}

// merged are the days and the sealed ones, each once, in order.
func merged(days []time.Time, sealed map[time.Time]*checkpoint) []time.Time {
	all := slices.Collect(maps.Keys(sealed))
	for _, d := range days {
		all = append(all, dayOf(d))
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.Compact(all)
}

// trust takes a sealed day as it is.
func (r *audit) trust(s span, c *checkpoint) {
	r.days = append(r.days, s)
	r.usage += c.Amount
}

// add counts what a span's rows came to, and reports whether nothing is wrong with them.
func (r *audit) add(s span, found spanFound) (sound bool) {
	if s.hi != nil {
		r.days = append(r.days, s)
	}
	r.usage += found.Amount
	r.leasesOff += found.LeasesOff
	r.revenueOff += found.RevenueOff
	r.negative += found.Negative
	r.report.Read += found.Read
	if found.LeasesOff > 0 {
		r.leasesOn = append(r.leasesOn, fmt.Sprintf("%s: %d leases or events", s.name(), found.LeasesOff))
	}
	if found.RevenueOff > 0 {
		r.revenueOn = append(r.revenueOn, fmt.Sprintf("%s: %d leases and APIs", s.name(), found.RevenueOff))
	}
	return found.LeasesOff+found.RevenueOff+found.Negative == 0
}

// compare holds a sealed day against its rows.
func (r *audit) compare(c *checkpoint, found dayFacts) {
	r.sealedSum += c.Amount
	r.foundSum += found.Amount
	wrong, note := c.differs(found)
	if wrong != "" {
		r.differs++
		r.differ = append(r.differ, c.name()+": "+wrong)
	}
	if note != "" {
		r.note(note)
	}
}

// ends returns of each final day the first id and the first moment behind it, and until when leases had to be booked to be
// counted in it.
func (r *audit) ends() (ids, times, upTo pq.StringArray) {
	for _, s := range r.days {
		ids = append(ids, *s.hi)
		times = append(times, s.day.AddDate(0, 0, 1).Format(time.RFC3339))
		upTo = append(upTo, s.upTo.Format(time.RFC3339Nano))
	}
	return ids, times, upTo
}
