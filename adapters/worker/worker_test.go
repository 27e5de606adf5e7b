package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// run runs jobs for a time that passes at once, and returns the lines they logged.
func run(t *testing.T, d time.Duration, jobs ...Job) *observer.ObservedLogs {
	t.Helper()
	core, lines := observer.New(zapcore.InfoLevel)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	Run(ctx, zap.New(core), jobs...)
	return lines
}

func TestPassesComeAtTheirPeriodAndIdleOnesAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passes int
		lines := run(t, time.Minute, Job{Name: "idle", Every: time.Second, Timeout: time.Second,
			Run: func(context.Context) (int, error) { passes++; return 0, nil }})
		if passes < 54 || passes > 67 {
			t.Errorf("%d passes in a minute of seconds", passes)
		}
		if lines.Len() != 0 {
			t.Errorf("idle passes wrote %d lines", lines.Len())
		}
	})
}

func TestAPassThatDidSomethingWritesOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := run(t, 1500*time.Millisecond, Job{Name: "busy", Every: time.Hour, Timeout: time.Second,
			Run: func(context.Context) (int, error) { return 3, nil }}).All()
		if len(lines) != 1 || lines[0].ContextMap()["job"] != "busy" || lines[0].ContextMap()["done"] != int64(3) {
			t.Errorf("got %v", lines)
		}
	})
}

func TestABacklogIsWorkedOffInOneGoWithRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pass = 100 * time.Millisecond
		left, began := 95, []time.Time{}
		lines := run(t, 6*time.Second, Job{Name: "backlog", Every: time.Hour, Timeout: time.Second, Full: 10,
			Run: func(context.Context) (int, error) {
				began = append(began, time.Now())
				time.Sleep(pass)
				n := min(left, 10)
				left -= n
				return n, nil
			}}).All()
		if left != 0 {
			t.Fatalf("%d left after six seconds", left)
		}
		for i := range began[1:] {
			if d := began[i+1].Sub(began[i]); d != 3*pass {
				t.Errorf("pass %d began %v after the one before, want %v", i+1, d, 3*pass)
			}
		}
		if len(lines) != 1 || lines[0].ContextMap()["done"] != int64(95) || lines[0].ContextMap()["passes"] != int64(10) {
			t.Errorf("got %v; want one line for 95 in 10 passes", lines)
		}
	})
}

func TestABacklogDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		run(t, 10*time.Second, Job{Name: "endless", Every: time.Hour, Timeout: time.Minute, Full: 1,
			Run: func(context.Context) (int, error) { time.Sleep(3 * time.Second); return 1, nil }})
		if d := time.Since(start); d > 13*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestFailuresAreLoggedAndSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passes int
		lines := run(t, time.Minute, Job{Name: "down", Every: 100 * time.Millisecond, Timeout: time.Second, Full: 1,
			Run: func(context.Context) (int, error) { passes++; return 1, errors.New("no database") }})
		if passes < 10 || passes > 25 {
			t.Errorf("%d passes in a minute of failures", passes)
		}
		if got := lines.FilterMessage("pass failed").Len(); got != passes {
			t.Errorf("%d lines for %d failures", got, passes)
		}
	})
}

func TestAFailureOfASlowJobDoesNotDelayItFurther(t *testing.T) {
	j := Job{Every: time.Hour}
	if got := j.pause(9); got > time.Hour+6*time.Minute {
		t.Errorf("paused for %v", got)
	}
}

func TestAPanicIsAFailedPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passes int
		lines := run(t, 10*time.Second, Job{Name: "odd", Every: time.Second, Timeout: time.Second,
			Run: func(context.Context) (int, error) { passes++; panic("boom") }})
		if passes < 2 {
			t.Errorf("the job did not survive: %d passes", passes)
		}
		if lines.FilterMessage("pass panicked").Len() != passes {
			t.Errorf("got %v", lines.All())
		}
	})
}

func TestAPassUnderWayFinishesAfterTheEndButNotBeyondItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var finished atomic.Bool
		began := make(chan struct{})
		go func() { <-began; cancel() }()
		start := time.Now()
		Run(ctx, zap.NewNop(), Job{Name: "slow", Every: time.Second, Timeout: 30 * time.Second, Run: func(ctx context.Context) (int, error) {
			close(began)
			<-ctx.Done() // only its own timeout
			finished.Store(true)
			return 0, ctx.Err()
		}})
		if !finished.Load() {
			t.Error("Run returned before its pass")
		}
		if d := time.Since(start); d < 30*time.Second || d > 32*time.Second {
			t.Errorf("the pass was ended after %v", d)
		}
	})
}
