package postgres_test

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

func TestUsageAgreesWithPlainCounting(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	reader := postgres.NewUsageReader(m.db)
	start := at("2026-05-01T00:00:00Z")
	apis := []id.ID{m.api.ID, newID(), newID()}
	rapid.Check(t, func(r *rapid.T) {
		user := newID()
		offset := rapid.Int64Range(0, 40*24*time.Hour.Milliseconds())
		var events []usage.Event
		for range rapid.IntRange(0, 12).Draw(r, "events") {
			e := m.call(start.Add(time.Duration(offset.Draw(r, "ms"))*time.Millisecond), 0, rapid.Int64Range(0, 1<<58).Draw(r, "stroops"))
			e.UserID, e.APIID = user, rapid.SampledFrom(apis).Draw(r, "api")
			events = append(events, e)
		}
		m.record(t, events...)
		q := ports.UsageQuery{
			User: user, From: start.Add(time.Duration(offset.Draw(r, "from")) * time.Millisecond),
			To: start.Add(time.Duration(offset.Draw(r, "to")) * time.Millisecond), Limit: 100,
			API:     rapid.SampledFrom([]id.ID{{}, apis[0]}).Draw(r, "only"),
			GroupBy: rapid.SampledFrom([]string{"", "day", "week", "month"}).Draw(r, "period"),
		}
		stats, err := reader.UsageStats(context.Background(), q)
		if want := countedStats(q, events); err != nil || !reflect.DeepEqual(stats, want) {
			r.Fatalf("stats %+v, %v\nwant %+v", stats, err, want)
		}
		lines, total, err := reader.UsageEvents(context.Background(), q)
		var ids []id.ID
		for _, l := range lines {
			ids = append(ids, l.ID)
		}
		if want := matching(q, events); err != nil || total != len(want) || !slices.Equal(ids, idsOf(want)) {
			r.Fatalf("lines %v of %d, %v\nwant %v", ids, total, err, idsOf(want))
		}
	})
}

// matching are the events of a query, newest first.
func matching(q ports.UsageQuery, events []usage.Event) []usage.Event {
	var found []usage.Event
	for _, e := range events {
		if !e.OccurredAt.Before(q.From) && e.OccurredAt.Before(q.To) && (q.API.IsZero() || e.APIID == q.API) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b usage.Event) int { return slices.Compare(b.ID[:], a.ID[:]) })
	return found
}

func countedStats(q ports.UsageQuery, events []usage.Event) ports.UsageStats {
	var stats ports.UsageStats
	apis, days := map[string]*ports.UsageSum{}, map[string]*ports.UsageSum{}
	for _, e := range matching(q, events) {
		stats.Calls++
		stats.Spent = money.FromStroops(stats.Spent.Stroops() + e.Amount.Stroops())
		count(apis, e.APIID.String(), e)
		if q.GroupBy != "" {
			count(days, firstDay(q.GroupBy, e.OccurredAt).Format(time.DateOnly), e)
		}
	}
	stats.ByAPI, stats.Buckets = sumsOf(apis), sumsOf(days)
	slices.SortFunc(stats.ByAPI, func(a, b ports.UsageSum) int { return cmp.Or(b.Amount.Cmp(a.Amount), cmp.Compare(a.Name, b.Name)) })
	return stats
}

func firstDay(period string, t time.Time) time.Time {
	switch period {
	case "week":
		return t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
	case "month":
		return t.AddDate(0, 0, 1-t.Day())
	}
	return t
}

func count(sums map[string]*ports.UsageSum, name string, e usage.Event) {
	if sums[name] == nil {
		sums[name] = &ports.UsageSum{Name: name}
	}
	s := sums[name]
	s.Calls++
	s.Amount = money.FromStroops(s.Amount.Stroops() + e.Amount.Stroops())
}

func sumsOf(by map[string]*ports.UsageSum) []ports.UsageSum {
	var sums []ports.UsageSum
	for _, s := range by {
		sums = append(sums, *s)
	}
	slices.SortFunc(sums, func(a, b ports.UsageSum) int { return cmp.Compare(a.Name, b.Name) })
	return sums
}

func idsOf(events []usage.Event) []id.ID {
	var ids []id.ID
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}
