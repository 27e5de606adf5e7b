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
	Full    int           // a pass that did at least this much leaves more to do, which does not wait for Every; 0: never
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
		if err := j.catchUp(ctx, log); err != nil {
			failures++
		} else {
			failures = 0
		}
		next.Reset(j.pause(failures))
	}
}

// catchUp runs until a pass was not full, and writes one line when there is something to say. A backlog leaves the database
// to those who wait for it: the next pass begins after twice the time that the last one took.
func (j Job) catchUp(ctx context.Context, log *zap.Logger) error {
	start, total, passes := time.Now(), 0, 0
	for {
		began := time.Now()
		done, err := j.pass(ctx, log)
		total += done
		passes++
		if err != nil {
			log.Warn("pass failed", zap.Int("done", total), zap.Duration("durationMs", time.Since(start)), zap.Error(err))
			return err
		}
		if full := j.Full > 0 && done >= j.Full; full {
			select {
			case <-time.After(2 * time.Since(began)):
				continue
			case <-ctx.Done():
			}
		}
		if total > 0 {
			log.Info("pass", zap.Int("done", total), zap.Int("passes", passes), zap.Duration("durationMs", time.Since(start)))
		}
		return nil
	}
}

// pass runs once.
func (j Job) pass(ctx context.Context, log *zap.Logger) (done int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			log.Error("pass panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		}
	}()
	return j.Run(ctx)
}

func (j Job) pause(failures int) time.Duration {
	wait := j.Every
	if failures > 0 {
		wait = min(wait<<min(failures-1, 10), max(longestPause, j.Every))
	}
	return wait - wait/10 + rand.N(max(wait/5, 1))
}
