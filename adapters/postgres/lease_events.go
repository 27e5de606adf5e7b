package postgres

import (
	"slices"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// leaseEvents says where a lease's usage events are: among its user's, between two ids. There is no index by lease.
type leaseEvents struct {
	Lease id.ID `db:"lease_id"`
	User  id.ID `db:"user_id"`
	First id.ID `db:"first"`
	Last  id.ID `db:"last"`
}

// eventSpan is a range of a user's usage events.
type eventSpan struct{ user, first, last id.ID }

// spansOf returns the ranges that hold the events of leases, each event in one: where the ranges of leases overlap they are
// read once. Oldest first.
func spansOf[L any](leases []L, events func(L) leaseEvents) []eventSpan {
	spans := make([]eventSpan, len(leases))
	for i, l := range leases {
		e := events(l)
		spans[i] = eventSpan{e.User, e.First, e.Last}
	}
	slices.SortFunc(spans, func(a, b eventSpan) int {
		if a.user != b.user {
			return compareIDs(a.user, b.user)
		}
		return compareIDs(a.first, b.first)
	})
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && joined[n-1].user == s.user && !joined[n-1].last.Before(s.first) {
			joined[n-1].last = latest(joined[n-1].last, s.last)
			continue
		}
		joined = append(joined, s)
	}
	slices.SortFunc(joined, func(a, b eventSpan) int { return compareIDs(a.first, b.first) })
	return joined
}

// spanArrays are the arguments for `unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS s (user_id, first, last)`, and the bounds of them all.
func spanArrays(spans []eventSpan) (users, firsts, lasts string, first, last id.ID) {
	u, f, l := newIDArray(len(spans)), newIDArray(len(spans)), newIDArray(len(spans))
	first, last = spans[0].first, spans[0].last
	for _, s := range spans {
		u.addID(s.user)
		f.addID(s.first)
		l.addID(s.last)
		if s.first.Before(first) {
			first = s.first
		}
		last = latest(last, s.last)
	}
	return u.text(), f.text(), l.text(), first, last
}

func compareIDs(a, b id.ID) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

func latest(a, b id.ID) id.ID {
	if a.Before(b) {
		return b
	}
	return a
}

// after is the least id that sorts behind u.
func after(u id.ID) id.ID {
	for i := len(u) - 1; i >= 0; i-- {
		if u[i]++; u[i] != 0 {
			break
		}
	}
	return u
}
