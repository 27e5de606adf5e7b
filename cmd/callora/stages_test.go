package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/CalloraOrg/callora-backend/adapters/worker"
)

func TestANodeStopsFromTheDoorToTheDatabase(t *testing.T) {
	var order []string
	total, shares := 0, map[string]int{}
	for _, s := range stagesOf(parts{Limits: &limits{}}, pools{}) {
		order = append(order, s.name)
		total += s.share
		shares[s.name] = s.share
	}
	want := []string{"connections", "calls", "jobs", "charging", "last use of keys", "changes", "rate limits", "database"}
	if !slices.Equal(order, want) {
		t.Errorf("stops as %q, want %q", order, want)
	}
	if total != 100 || shares["charging"] < 15 {
		t.Errorf("the shares are %v", shares)
	}
}

// told is what was logged of a part.
func told(logs *observer.ObservedLogs, part string) string {
	var said []string
	for _, e := range logs.All() {
		if e.ContextMap()["part"] == part {
			said = append(said, e.Level.String()+": "+e.Message)
		}
	}
	return strings.Join(said, "; ")
}

func TestAStageThatOverrunsItsShareStarvesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		forever := make(chan struct{})
		defer close(forever)
		var stopped []string
		slow := func(name string, needs time.Duration) func(context.Context) error {
			return func(ctx context.Context) error {
				select {
				case <-time.After(needs):
					stopped = append(stopped, name)
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		start := time.Now()
		err := stopStages([]stage{
			{name: "deaf", share: 50, stop: func(context.Context) error { <-forever; return nil }},
			{name: "late", share: 20, stop: slow("late", time.Hour)},
			{name: "charging", share: 20, stop: slow("charging", 1700*time.Millisecond)},
			{name: "quick", share: 5, stop: slow("quick", 0)},
			{name: "with what is left", share: 5, stop: slow("with what is left", 600*time.Millisecond)},
		}, 10*time.Second, zap.New(core))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		if want := []string{"charging", "quick", "with what is left"}; !slices.Equal(stopped, want) {
			t.Errorf("stopped %q, want %q", stopped, want)
		}
		if err == nil || !errors.Is(err, errLeftBehind) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		for part, want := range map[string]string{
			"deaf": "error: a part of the node did not stop well", "late": "error: a part of the node did not stop well",
			"charging": "info: stopped a part of the node", "quick": "info: stopped a part of the node",
		} {
			if got := told(logs, part); got != want {
				t.Errorf("of %s the log says %q", part, got)
			}
		}
	})
}

func TestAFailedStartStopsWhatRuns(t *testing.T) {
	var did []string
	part := func(name string, err error) stage {
		return stage{
			name: name, share: 25,
			start: func(context.Context) error { did = append(did, "start "+name); return err },
			stop:  func(context.Context) error { did = append(did, "stop "+name); return nil },
		}
	}
	port := errors.New("the port is taken")
	pool := part("pool", nil)
	pool.start = nil
	err := startStages(t.Context(), []stage{part("door", nil), part("server", port), part("jobs", nil), pool}, time.Second, zap.NewNop())
	if want := []string{"start jobs", "start server", "stop jobs", "stop pool"}; !errors.Is(err, port) || !slices.Equal(did, want) {
		t.Errorf("did %q, %v", did, err)
	}
}

func TestAPassIsLetFinishThenBrokenOffThenLeftBehind(t *testing.T) {
	for name, tc := range map[string]struct {
		pass func(ctx context.Context, forever chan struct{}) error
		says []string
	}{
		"finishes": {func(ctx context.Context, _ chan struct{}) error {
			select {
			case <-time.After(6 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, nil},
		"is broken off": {func(ctx context.Context, _ chan struct{}) error { <-ctx.Done(); return ctx.Err() },
			[]string{"a pass took too long at the end and was broken off; the next one does its work", "pass failed"}},
		"does not end": {func(_ context.Context, forever chan struct{}) error { <-forever; return nil },
			[]string{"a pass took too long at the end and was broken off; the next one does its work", "a pass that does not end was left behind"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				forever, running := make(chan struct{}), make(chan struct{})
				r := newJobRunner([]worker.Job{{Name: "j", Every: time.Second, Timeout: time.Hour, Run: func(ctx context.Context) (int, error) {
					close(running)
					return 0, tc.pass(ctx, forever)
				}}}, zap.New(core))
				if err := r.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				<-running
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				if err := r.stop(ctx); err != nil || time.Since(start) > 10*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				synctest.Wait()
				var said []string
				for _, e := range logs.All() {
					said = append(said, e.Message)
				}
				if !slices.Equal(said, tc.says) {
					t.Errorf("the log says %q, want %q", said, tc.says)
				}
				close(forever)
			})
		})
	}
}
