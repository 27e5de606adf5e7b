// Package worker runs periodic passes: one goroutine per job, never two passes of a job at once.
package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Job is one kind of pass. Run does a bounded amount of work and returns how much it did.
type Job struct {
	Name    string
	Every   time.Duration // between the end of a pass and the next, give or take a tenth
	Timeout time.Duration // of one pass
	Full    int           // a pass that did at least this much is followed by the next at once; 0: never
	Run     func(ctx context.Context) (done int, err error)
}

// firstWithin bounds the wait for a job's first pass; longestPause bounds the pause of a short-period job that fails.
const (
	firstWithin  = time.Second
	longestPause = 5 * time.Second
)

// Run runs all jobs until ctx ends, then lets passes under way finish: they keep a context that only their own timeout
// ends. A pass that fails or panics is logged, and tried again after a growing pause.
func Run(ctx context.Context, log *zap.Logger, jobs ...Job) {
	var all sync.WaitGroup
	for _, j := range jobs {
		all.Go(func() { j.loop(ctx, log.With(zap.String("job", j.Name))) })
	}
	all.Wait()
}

func (j Job) loop(ctx context.Context, log *zap.Logger) {
	next := time.NewTimer(rand.N(min(firstWithin, j.Every)))
	defer next.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		done, err := j.pass(ctx, log)
		switch {
		case err != nil:
			failures++
		default:
			failures = 0
		}
		next.Reset(j.pause(done, failures))
	}
}

// pass runs once and writes one line when there is something to say.
func (j Job) pass(ctx context.Context, log *zap.Logger) (done int, err error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			log.Error("pass panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			return
		}
		took := zap.Duration("durationMs", time.Since(start))
		switch {
		case err != nil:
			log.Warn("pass failed", zap.Int("done", done), took, zap.Error(err))
		case done > 0:
			log.Info("pass", zap.Int("done", done), took)
		}
	}()
	return j.Run(ctx)
}

func (j Job) pause(done, failures int) time.Duration {
	if failures == 0 && j.Full > 0 && done >= j.Full {
		return 0
	}
	wait := j.Every
	if failures > 0 {
		wait = min(wait<<min(failures-1, 10), max(longestPause, j.Every))
	}
	return wait - wait/10 + rand.N(max(wait/5, 1))
}
