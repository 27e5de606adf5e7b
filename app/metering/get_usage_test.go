package metering_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/app/metering"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

var noon = time.Date(2026, 5, 28, 12, 0, 0, 0, time.UTC)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

func useCase(reader ports.UsageReader) metering.GetUsage {
	return metering.GetUsage{Reader: reader, Now: func() time.Time { return noon }}
}

func TestAnOpenEndOfThePeriodIsThirtyDaysAway(t *testing.T) {
	t.Parallel()
	const span = 30 * 24 * time.Hour
	early, late := noon.AddDate(-1, 0, 0), noon.AddDate(1, 0, 0)
	for name, tc := range map[string]struct {
		from, to         *time.Time
		wantFrom, wantTo time.Time
	}{
		"neither":   {nil, nil, noon.Add(-span), noon},
		"from":      {&early, nil, early, noon},
		"to":        {nil, &late, late.Add(-span), late},
		"both":      {&early, &late, early, late},
		"no length": {&early, &early, early, early},
	} {
		got, err := useCase(&portstest.Usage{}).Do(t.Context(), metering.GetUsageInput{From: tc.from, To: tc.to, Limit: 1})
		if err != nil || !got.From.Equal(tc.wantFrom) || !got.To.Equal(tc.wantTo) {
			t.Errorf("%s: %v to %v, %v", name, got.From, got.To, err)
		}
	}
}

func TestEveryWrongPartOfTheQuestionIsNamed(t *testing.T) {
	t.Parallel()
	late := noon.Add(1)
	_, err := useCase(&portstest.Usage{}).Do(t.Context(), metering.GetUsageInput{From: &late, GroupBy: "year", Cursor: "x", Limit: 1})
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Invalid || len(f.Details) != 3 {
		t.Fatalf("%v", err)
	}
	for i, field := range []string{"query.from", "query.groupBy", "query.cursor"} {
		if f.Details[i].Field != field || f.Details[i].Message == "" {
			t.Errorf("%+v, want %s", f.Details[i], field)
		}
	}
}

func TestCursorsVisitEveryCallOnceNewestFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		user, usage := newID(), &portstest.Usage{}
		var want []id.ID
		for range rapid.IntRange(0, 12).Draw(r, "calls") {
			l := ports.UsageLine{ID: newID(), Amount: money.FromStroops(3), OccurredAt: noon.Add(-time.Minute)}
			usage.Add(user, l)
			usage.Add(newID(), ports.UsageLine{ID: newID(), OccurredAt: l.OccurredAt}) // somebody else's
			want = append(want, l.ID)
		}
		slices.Reverse(want)
		in := metering.GetUsageInput{Actor: user, Limit: rapid.IntRange(1, 5).Draw(r, "limit")}
		var got []id.ID
		for pages := 0; pages <= len(want); pages++ {
			page, err := useCase(usage).Do(t.Context(), in)
			if err != nil || page.Total != len(want) || page.Stats.Calls != int64(len(want)) || len(page.Items) > in.Limit {
				r.Fatalf("%+v, %v", page, err)
			}
			for _, l := range page.Items {
				got = append(got, l.ID)
			}
			if in.Cursor = page.NextCursor; in.Cursor == "" {
				break
			}
		}
		if in.Cursor != "" || !slices.Equal(got, want) {
			r.Fatalf("got %v, want %v", got, want)
		}
	})
}

// halfBroken can add up and not list.
type halfBroken struct{ portstest.Usage }

var errBroken = errors.New("broken")

func (*halfBroken) UsageEvents(context.Context, ports.UsageQuery) ([]ports.UsageLine, int, error) {
	return nil, 0, errBroken
}

func TestABrokenStoreIsReported(t *testing.T) {
	t.Parallel()
	for _, reader := range []ports.UsageReader{&portstest.Usage{Fail: errBroken}, &halfBroken{}} {
		if _, err := useCase(reader).Do(t.Context(), metering.GetUsageInput{Limit: 1}); !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
	}
}
