package health_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/app/health"
)

// after answers err after a while of the bubble's clock.
func after(d time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestTheWholeIsAsWellAsItsParts(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		critical, other func(context.Context) error
		whole           health.Status
		parts           string
		took            time.Duration
	}{
		"all is well":              {after(0, nil), after(time.Second, nil), health.OK, "ok ok", time.Second},
		"the other is slow":        {after(0, nil), after(time.Second+1, nil), health.Degraded, "ok degraded", time.Second + 1},
		"the other is not well":    {after(0, nil), after(0, fmt.Errorf("status 500: %w", health.ErrDegraded)), health.Degraded, "ok degraded", 0},
		"the other fails":          {after(0, nil), after(0, broken), health.Degraded, "ok down", 0},
		"the other never answers":  {after(0, nil), after(time.Hour, nil), health.Degraded, "ok down", 2 * time.Second},
		"the critical one is slow": {after(time.Second+1, nil), after(0, nil), health.Degraded, "degraded ok", time.Second + 1},
		"the critical one fails":   {after(0, broken), after(0, broken), health.Down, "down down", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			uc := health.CheckHealth{Now: time.Now, Checks: []health.Check{
				{Name: "critical", Critical: true, Timeout: 2 * time.Second, Slow: time.Second, Probe: tc.critical},
				{Name: "other", Timeout: 2 * time.Second, Slow: time.Second, Probe: tc.other},
			}}
			got := uc.Do(t.Context())
			parts := fmt.Sprint(got.Checks["critical"], " ", got.Checks["other"])
			if got.Status != tc.whole || parts != tc.parts || time.Since(start) != tc.took || !got.At.Equal(start.Add(tc.took)) {
				t.Errorf("%s: %s, %s after %v; want %s, %s after %v", name, got.Status, parts, time.Since(start), tc.whole, tc.parts, tc.took)
			}
		})
	}
}

func TestWithoutDependenciesAllIsWell(t *testing.T) {
	t.Parallel()
	got := health.CheckHealth{Now: time.Now}.Do(t.Context())
	if got.Status != health.OK || !maps.Equal(got.Checks, map[string]health.Status{}) {
		t.Errorf("%+v", got)
	}
}

func TestAProbeThatHeedsNoTimeLimitIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		never, start := make(chan struct{}), time.Now()
		defer close(never)
		got := health.CheckHealth{Now: time.Now, Checks: []health.Check{{
			Name: "stubborn", Critical: true, Timeout: time.Second, Slow: time.Second,
			Probe: func(context.Context) error { <-never; return nil },
		}}}.Do(t.Context())
		if got.Status != health.Down || time.Since(start) != time.Second {
			t.Errorf("%+v after %v", got, time.Since(start))
		}
	})
}
