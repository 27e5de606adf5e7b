package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oapi-codegen/runtime/types"

	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/metering"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// GetUsage serves GET /api/usage.
func (o *operations) GetUsage(ctx context.Context, r gen.GetUsageRequestObject) (gen.GetUsageResponseObject, error) {
	in, err := usageInput(edge.Actor(ctx), r.Params)
	if err != nil {
		return nil, err
	}
	page, err := o.uses.Metering.GetUsage.Do(ctx, in)
	if err != nil {
		return nil, err
	}
	body, err := shownUsage(page, in)
	if err != nil {
		return nil, err
	}
	return gen.GetUsage200JSONResponse{Body: body}, nil
}

func usageInput(user id.ID, p gen.GetUsageParams) (metering.GetUsageInput, error) {
	in := metering.GetUsageInput{
		Actor: user, API: id.ID(orEmpty(p.ApiId)), GroupBy: string(orEmpty(p.GroupBy)), Cursor: orEmpty(p.Cursor),
	}
	in.Limit, in.Offset = pageOf(p.Limit, p.Offset, p.Page)
	var wrong []fault.Detail
	for _, end := range []struct {
		name string
		text *gen.Moment
		to   **time.Time
	}{{"from", p.From, &in.From}, {"to", p.To, &in.To}} {
		if end.text == nil {
			continue
		}
		t, ok := moment(*end.text)
		if !ok {
			wrong = append(wrong, fault.Detail{
				Field: "query." + end.name, Code: "INVALID_FORMAT",
				Message: end.name + " must be an RFC 3339 time such as 2026-05-01T12:00:00Z or a date such as 2026-05-01",
			})
		}
		*end.to = &t
	}
	if wrong != nil {
		return in, fault.InvalidFields(wrong...)
	}
	return in, nil
}

// moment reads a time or a date, within the years that a UUIDv7 and an RFC 3339 time can tell. The zone counts: the last
// evening of 9999 in New York is in the year 10000.
func moment(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999
		}
	}
	return time.Time{}, false
}

func shownUsage(page metering.UsagePage, in metering.GetUsageInput) (gen.Usage, error) {
	out := gen.Usage{
		Events: list(page.Items, usageEvent),
		Stats:  gen.UsageStats{TotalCalls: page.Stats.Calls, TotalSpent: page.Stats.Spent.String(), BreakdownByApi: []gen.ApiSum{}},
		Period: gen.Period{From: page.From, To: page.To},
		Meta:   gen.UsageMeta{Total: page.Total, Limit: in.Limit, Offset: int64(in.Offset), NextCursor: orNull(page.NextCursor)},
	}
	for _, sum := range page.Stats.ByAPI {
		api, err := id.Parse(sum.Name)
		if err != nil {
			return out, fmt.Errorf("usage of API %q: %w", sum.Name, err)
		}
		out.Stats.BreakdownByApi = append(out.Stats.BreakdownByApi, gen.ApiSum{ApiId: gen.Id(api), Calls: sum.Calls, Revenue: sum.Amount.String()})
	}
	if in.GroupBy == "" {
		return out, nil
	}
	buckets := []gen.PeriodSum{}
	for _, sum := range page.Stats.Buckets {
		day, err := time.Parse(time.DateOnly, sum.Name)
		if err != nil {
			return out, fmt.Errorf("usage by %s: %w", in.GroupBy, err)
		}
		buckets = append(buckets, gen.PeriodSum{Period: types.Date{Time: day}, Calls: sum.Calls, Revenue: sum.Amount.String()})
	}
	out.Stats.Buckets = &buckets
	return out, nil
}

func usageEvent(l ports.UsageLine) gen.UsageEvent {
	return gen.UsageEvent{
		Id: gen.Id(l.ID), ApiId: gen.Id(l.APIID), ApiSlug: l.APISlug, Endpoint: strings.TrimSpace(l.Method + " " + l.Path),
		OccurredAt: l.OccurredAt.UTC(), Revenue: l.Amount.String(), Status: l.Status, LatencyMs: float64(l.Latency.Microseconds()) / 1000,
	}
}
