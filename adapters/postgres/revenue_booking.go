package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// booking is one pass in its transaction, which has the leases locked.
type booking struct {
	tx     *sqlx.Tx
	page   int
	leases []leaseToBook

	earned map[id.ID]map[id.ID]*earned // by lease and API
	whole  []leaseToBook               // those of which all events have been read
	calls  int                         // booked
	wrong  []wrongLease
}

// earned is what a lease has paid for an API.
type earned struct{ calls, amount, lastUS int64 }

// wrongLease is one whose events do not come to what it used.
type wrongLease struct {
	lease       id.ID
	used, found int64
}

// pagesOfPass are read before a pass ends, if some lease is whole by then: what it has locked and not booked is locked anew by the next.
const pagesOfPass = 4

// read reads the events of the leases in pages.
func (b *booking) read(ctx context.Context) error {
	found := 0
	for _, spans := range byTime(spansOf(b.leases, func(l leaseToBook) leaseEvents { return l.leaseEvents })) {
		for len(spans) > 0 {
			if found >= pagesOfPass*b.page && len(b.whole) > 0 {
				return nil
			}
			read, rest, err := b.readPage(ctx, spans)
			if err != nil {
				return err
			}
			b.end(spans, rest)
			found += read
			spans = rest
		}
	}
	return nil
}

// byTime groups spans whose events lie within a day, or within one span's time where that is longer, as the partitions of
// all that a statement reads are locked.
func byTime(spans []eventSpan) (groups [][]eventSpan) {
	for start, i := 0, 1; i <= len(spans); i++ {
		if i == len(spans) || spans[i].last.Time().Sub(spans[start].first.Time()) > 24*time.Hour {
			groups = append(groups, spans[start:i])
			start = i
		}
	}
	return groups
}

// readPage adds a page of events up, and returns what it did not come to.
func (b *booking) readPage(ctx context.Context, spans []eventSpan) (found int, rest []eventSpan, err error) {
	users, firsts, lasts, first, last := spanArrays(spans)
	leases := newIDArray(len(b.leases))
	for _, l := range b.leases {
		leases.addID(l.Lease)
	}
	var rows []struct {
		Found    int   `db:"found"`
		Span     int   `db:"span"`
		Reached  id.ID `db:"reached"`
		Lease    id.ID `db:"lease_id"`
		API      id.ID `db:"api_id"`
		Calls    int64 `db:"calls"`
		Amount   int64 `db:"amount"`
		EarnedUS int64 `db:"earned_us"`
	}
	query := fmt.Sprintf(readRevenue, first, last, b.page)
	if err := b.tx.SelectContext(ctx, &rows, query, users, firsts, lasts, leases.text()); err != nil || len(rows) == 0 {
		return 0, nil, err
	}
	for _, r := range rows {
		if r.Calls == 0 {
			continue
		}
		if b.earned[r.Lease] == nil {
			b.earned[r.Lease] = map[id.ID]*earned{}
		}
		e := b.earned[r.Lease][r.API]
		if e == nil {
			e = &earned{}
			b.earned[r.Lease][r.API] = e
		}
		e.calls, e.amount, e.lastUS = e.calls+r.Calls, e.amount+r.Amount, max(e.lastUS, r.EarnedUS)
	}
	if rows[0].Found < b.page {
		return rows[0].Found, nil, nil
	}
	rest = append([]eventSpan(nil), spans[rows[0].Span-1:]...)
	rest[0].first = after(rows[0].Reached)
	return rows[0].Found, rest, nil
}

// end finds the leases of spans that are whole, now that only rest is left of them.
func (b *booking) end(spans, rest []eventSpan) {
	open := make(map[id.ID][]eventSpan, len(rest))
	for _, s := range rest {
		open[s.user] = append(open[s.user], s)
	}
	read := make(map[id.ID][]eventSpan, len(spans))
	for _, s := range spans {
		read[s.user] = append(read[s.user], s)
	}
	for _, l := range b.leases {
		if endsIn(read[l.User], l.Last) && !endsIn(open[l.User], l.Last) {
			b.whole = append(b.whole, l)
		}
	}
}

// endsIn reports whether what ends with last ends in one of the spans.
func endsIn(spans []eventSpan, last id.ID) bool {
	for _, s := range spans {
		if !last.Before(s.first) && !s.last.Before(last) {
			return true
		}
	}
	return false
}

// book writes the revenue of the whole leases, of each all or nothing.
func (b *booking) book(ctx context.Context) error {
	if len(b.whole) == 0 {
		return nil
	}
	n := len(b.whole)
	leases, apis, calls, amounts, times := newIDArray(n), newIDArray(n), newIntArray(n), newIntArray(n), newIntArray(n)
	ids, users, firsts, lasts := newIDArray(n), newIDArray(n), newIDArray(n), newIDArray(n)
	for _, l := range b.whole {
		ids.addID(l.Lease)
		users.addID(l.User)
		firsts.addID(l.First)
		lasts.addID(l.Last)
		for api, e := range b.earned[l.Lease] {
			leases.addID(l.Lease)
			apis.addID(api)
			calls.addInt(e.calls)
			amounts.addInt(e.amount)
			times.addInt(e.lastUS)
		}
	}
	var booked []id.ID
	err := b.tx.SelectContext(ctx, &booked, bookRevenue, leases.text(), apis.text(), calls.text(), amounts.text(), times.text(),
		ids.text(), users.text(), firsts.text(), lasts.text())
	if err != nil {
		return fmt.Errorf("book the revenue of %d leases: %w", n, err)
	}
	done := make(map[id.ID]bool, len(booked))
	for _, lease := range booked {
		done[lease] = true
	}
	for _, l := range b.whole {
		var found int64
		for _, e := range b.earned[l.Lease] {
			found += e.amount
			if done[l.Lease] {
				b.calls += int(e.calls)
			}
		}
		if !done[l.Lease] {
			b.wrong = append(b.wrong, wrongLease{l.Lease, l.Used, found})
		}
	}
	return nil
}
