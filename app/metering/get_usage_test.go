package metering

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

var noon = time.Date(2026, 5, 28, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// world is a consumer's usage.
type world struct {
	usage    *portstest.Usage
	consumer id.ID
}

func newWorld() *world { return &world{usage: &portstest.Usage{}, consumer: newID()} }

// call records one at a time for so many stroops.
func (w *world) call(api id.ID, when time.Time, stroops int64) id.ID {
	u, tail := id.FirstAt(when), newID()
	copy(u[6:], tail[6:])
	w.usage.Add(w.consumer, ports.UsageLine{ID: u, APIID: api, Amount: money.FromStroops(stroops), OccurredAt: when})
	return u
}

// get reads the consumer's usage, 100 calls unless the input says otherwise.
func (w *world) get(t *testing.T, in GetUsageInput) (UsagePage, error) {
	t.Helper()
	in.Actor = w.consumer
	if in.Limit == 0 {
		in.Limit = 100
	}
	return GetUsage{Reader: w.usage, Now: func() time.Time { return noon.In(time.FixedZone("", 3600)) }}.Do(t.Context(), in)
}

func (w *world) mustGet(t *testing.T, in GetUsageInput) UsagePage {
	t.Helper()
	page, err := w.get(t, in)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestThePeriodIsTheLast30DaysUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld()
	early, late := noon.Add(-90*day), noon.Add(-60*day)
	for name, tc := range map[string]struct {
		from, to         *time.Time
		wantFrom, wantTo time.Time
	}{
		"neither end": {nil, nil, noon.Add(-30 * day), noon},
		"only from":   {&early, nil, early, noon},
		"only to":     {nil, &late, late.Add(-30 * day), late},
		"both":        {&early, &late, early, late},
		"no time":     {&late, &late, late, late},
	} {
		got := w.mustGet(t, GetUsageInput{From: tc.from, To: tc.to})
		if got.From != tc.wantFrom || got.To != tc.wantTo { // in UTC as well
			t.Errorf("%s: %v to %v, want %v to %v", name, got.From, got.To, tc.wantFrom, tc.wantTo)
		}
	}
}

func TestUsageIsShownNewestFirstAndSummedUp(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cheap, dear := newID(), newID()
	from, to := noon.Add(-2*day), noon.Add(-day)
	w.call(cheap, from.Add(-time.Millisecond), 1)
	first := w.call(cheap, from, 10)
	second := w.call(dear, from.Add(13*time.Hour), 500)
	w.call(cheap, to, 1)
	others := &world{usage: w.usage, consumer: newID()}
	others.call(cheap, from, 1)

	got := w.mustGet(t, GetUsageInput{From: &from, To: &to, GroupBy: "day"})
	want := ports.UsageStats{
		Calls: 2, Spent: money.FromStroops(510),
		ByAPI: []ports.UsageSum{
			{Name: dear.String(), Calls: 1, Amount: money.FromStroops(500)}, {Name: cheap.String(), Calls: 1, Amount: money.FromStroops(10)},
		},
		Buckets: []ports.UsageSum{
			{Name: "2026-05-26", Calls: 1, Amount: money.FromStroops(10)}, {Name: "2026-05-27", Calls: 1, Amount: money.FromStroops(500)},
		},
	}
	if got.Total != 2 || !slices.Equal(idsOf(got), []id.ID{second, first}) || got.NextCursor != "" || !reflect.DeepEqual(got.Stats, want) {
		t.Errorf("got %+v\nwant stats %+v", got, want)
	}
	got = w.mustGet(t, GetUsageInput{From: &from, To: &to, API: cheap})
	if got.Total != 1 || got.Stats.Spent.Stroops() != 10 || got.Stats.Buckets != nil || !slices.Equal(idsOf(got), []id.ID{first}) {
		t.Errorf("of one API: %+v", got)
	}
}

func TestPagesByCursorShowEveryCallOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w, calls := newWorld(), rapid.IntRange(0, 12).Draw(r, "calls")
		var want, got []id.ID
		for range calls {
			want = append(want, w.call(newID(), noon.Add(-time.Hour), 1)) // all in one millisecond
		}
		slices.SortFunc(want, func(a, b id.ID) int { return bytes.Compare(b[:], a[:]) })
		in := GetUsageInput{Limit: rapid.IntRange(1, 5).Draw(r, "limit")}
		for pages := 0; pages == 0 || in.Cursor != ""; pages++ {
			page, err := w.get(t, in)
			if err != nil || len(page.Items) > in.Limit || pages > calls {
				r.Fatalf("page %d: %+v, %v", pages, page, err)
			}
			if page.Total != calls+pages || page.Stats.Calls != int64(page.Total) {
				r.Fatalf("page %d: %d calls in all, %d in the sums; want %d", pages, page.Total, page.Stats.Calls, calls+pages)
			}
			got, in.Cursor = append(got, idsOf(page)...), page.NextCursor
			w.call(newID(), noon.Add(-time.Minute), 1) // newer than all: in no later page
		}
		if !slices.Equal(got, want) {
			r.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestPagesByOffset(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var want []id.ID
	for i := range 5 {
		want = append(want, w.call(newID(), noon.Add(-time.Duration(i+1)*time.Hour), 1))
	}
	got := w.mustGet(t, GetUsageInput{Limit: 2, Offset: 2})
	if !slices.Equal(idsOf(got), want[2:4]) || got.Total != 5 || got.NextCursor == "" {
		t.Errorf("got %+v", got)
	}
	next := w.mustGet(t, GetUsageInput{Limit: 2, Cursor: got.NextCursor})
	if !slices.Equal(idsOf(next), want[4:]) || next.NextCursor != "" {
		t.Errorf("the cursor of a page by offset leads to %+v", next)
	}
	if got := w.mustGet(t, GetUsageInput{Limit: 2, Offset: 9}); len(got.Items) != 0 || got.Total != 5 || got.NextCursor != "" {
		t.Errorf("past the end: %+v", got)
	}
}

func TestEveryWrongFieldOfAQueryIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	past, future := noon.Add(-day), noon.Add(day)
	some := newID()
	cursor := base64.RawURLEncoding.EncodeToString(some[:])
	for name, tc := range map[string]struct {
		give GetUsageInput
		want []string
	}{
		"turned round":       {GetUsageInput{From: &future, To: &past}, []string{"query.from: from must be before or equal to to"}},
		"starts in future":   {GetUsageInput{From: &future}, []string{"query.from: from must be before or equal to to"}},
		"unknown period":     {GetUsageInput{GroupBy: "year"}, []string{"query.groupBy: groupBy must be one of: day, week, month"}},
		"no cursor of ours":  {GetUsageInput{Cursor: "?"}, []string{badCursor}},
		"a cursor too short": {GetUsageInput{Cursor: cursor[:20]}, []string{badCursor}},
		"a cursor too long":  {GetUsageInput{Cursor: cursor + "AA"}, []string{badCursor}},
		"a padded cursor":    {GetUsageInput{Cursor: cursor + "=="}, []string{badCursor}},
		"cursor and offset":  {GetUsageInput{Cursor: cursor, Offset: 1}, []string{badCursor}},
		"all of it": {GetUsageInput{From: &future, GroupBy: "Day", Cursor: "x"}, []string{
			"query.from: from must be before or equal to to", "query.groupBy: groupBy must be one of: day, week, month", badCursor,
		}},
	} {
		_, err := w.get(t, tc.give)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != "VALIDATION_ERROR" {
			t.Errorf("%s: %v, want a VALIDATION_ERROR", name, err)
			continue
		}
		var got []string
		for _, d := range f.Details {
			got = append(got, d.Field+": "+d.Message)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

const badCursor = "query.cursor: cursor must be the nextCursor of an earlier answer, without offset or page"

func TestAReaderThatFailsShowsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.call(newID(), noon.Add(-time.Hour), 1)
	down := errors.New("the store is down")
	for name, reader := range map[string]ports.UsageReader{
		"stats":  &portstest.Usage{Fail: down},
		"events": onlyStats{w.usage, down},
	} {
		got, err := GetUsage{Reader: reader, Now: time.Now}.Do(t.Context(), GetUsageInput{Actor: w.consumer, Limit: 1})
		if !errors.Is(err, down) || !reflect.DeepEqual(got, UsagePage{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// onlyStats is a reader whose events cannot be read.
type onlyStats struct {
	ports.UsageReader
	err error
}

func (r onlyStats) UsageEvents(context.Context, ports.UsageQuery) ([]ports.UsageLine, int, error) {
	return nil, 0, r.err
}

func idsOf(p UsagePage) (ids []id.ID) {
	for _, l := range p.Items {
		ids = append(ids, l.ID)
	}
	return ids
}
