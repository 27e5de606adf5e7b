// Package metering shows consumers what they called and what it cost.
package metering

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// defaultSpan is the period of a request that leaves an end of it open.
const defaultSpan = 30 * 24 * time.Hour

// GetUsage shows a consumer's own calls in a period: a page of them, and sums over all.
type GetUsage struct {
	Reader ports.UsageReader
	Now    ports.Clock
}

// GetUsageInput selects calls with From <= time < To, and a page of them by Offset or by Cursor.
type GetUsageInput struct {
	Actor         id.ID
	From, To      *time.Time // nil: 30 days before To; now
	API           id.ID      // zero: all
	GroupBy       string     // "", day, week or month
	Limit, Offset int        // Limit is at least 1
	Cursor        string     // NextCursor of the page before; not with an Offset
}

// UsagePage is one page. Total and Stats are of the whole period.
type UsagePage struct {
	From, To   time.Time
	Items      []ports.UsageLine
	Total      int
	Stats      ports.UsageStats
	NextCursor string // "": this is the last page
}

// Do reads usage. Fault: VALIDATION_ERROR.
func (uc GetUsage) Do(ctx context.Context, in GetUsageInput) (UsagePage, error) {
	q, err := uc.query(in)
	if err != nil {
		return UsagePage{}, err
	}
	page := UsagePage{From: q.From, To: q.To}
	if page.Stats, err = uc.Reader.UsageStats(ctx, q); err != nil {
		return UsagePage{}, fmt.Errorf("get usage: %w", err)
	}
	q.Limit++ // one more than asked for tells whether there is a next page
	if page.Items, page.Total, err = uc.Reader.UsageEvents(ctx, q); err != nil {
		return UsagePage{}, fmt.Errorf("get usage: %w", err)
	}
	if len(page.Items) > in.Limit {
		page.Items = page.Items[:in.Limit]
		last := page.Items[in.Limit-1].ID
		page.NextCursor = base64.RawURLEncoding.EncodeToString(last[:])
	}
	return page, nil
}

func (uc GetUsage) query(in GetUsageInput) (ports.UsageQuery, error) {
	var wrong []fault.Detail
	refuse := func(field, message string) {
		wrong = append(wrong, fault.Detail{Field: "query." + field, Message: message, Code: "INVALID_VALUE"})
	}
	q := ports.UsageQuery{User: in.Actor, API: in.API, GroupBy: in.GroupBy, Limit: in.Limit, Offset: in.Offset}
	q.From, q.To = period(in.From, in.To, uc.Now())
	if q.From.After(q.To) {
		refuse("from", "from must be before or equal to to")
	}
	switch in.GroupBy {
	case "", "day", "week", "month":
	default:
		refuse("groupBy", "groupBy must be one of: day, week, month")
	}
	if in.Cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		if err != nil || len(text) != len(q.Before) || in.Offset != 0 {
			refuse("cursor", "cursor must be the nextCursor of an earlier answer, without offset or page")
		} else {
			q.Before = id.ID(text)
		}
	}
	if wrong != nil {
		return ports.UsageQuery{}, fault.InvalidFields(wrong...)
	}
	return q, nil
}

func period(from, to *time.Time, now time.Time) (time.Time, time.Time) {
	end := now
	if to != nil {
		end = *to
	}
	start := end.Add(-defaultSpan)
	if from != nil {
		start = *from
	}
	return start.UTC(), end.UTC()
}
