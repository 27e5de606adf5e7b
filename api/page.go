package api

import (
	"time"

	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

const (
	defaultLimit = 20
	maxLimit     = 100
)

// pageOf reads the paging parameters: limit is capped, and a page is stronger than an offset.
func pageOf(limit, offset, page *int32) (n, skip int) {
	n = defaultLimit
	if limit != nil {
		n = min(int(*limit), maxLimit)
	}
	switch {
	case page != nil:
		skip = (int(*page) - 1) * n
	case offset != nil:
		skip = int(*offset)
	}
	return n, skip
}

func metaOf(total, limit, offset int) gen.Meta {
	return gen.Meta{Total: total, Limit: limit, Offset: int64(offset)}
}

// orEmpty is the value of an optional field.
func orEmpty[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}

// orNull shows the zero value as null.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// timeOrNull shows no time as null.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// idOrNull shows no id as null.
func idOrNull(u id.ID) *gen.Id { return orNull(gen.Id(u)) }

// list shows every element of a page; an empty page is an empty list, not null.
func list[A, B any](all []A, show func(A) B) []B {
	out := make([]B, len(all))
	for i, a := range all {
		out[i] = show(a)
	}
	return out
}
