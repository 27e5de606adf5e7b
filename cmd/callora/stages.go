package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// stage is one part of a running node, in the order of stopping.
type stage struct {
	name  string
	start func(context.Context) error // nil: it runs from the beginning
	stop  func(context.Context) error // ends with its context
	share int                         // of the time to stop, in percent
	means string                      // when it does not stop well: for whoever reads the log
}

// promptly is the part of its share that a stage is told of; in the rest it may still report what it left undone.
const promptly = 0.9

var errLeftBehind = errors.New("it does not end, and is left behind")

// startStages starts the stages from the last to the first. When one fails, those that run are stopped again.
func startStages(ctx context.Context, stages []stage, stopWithin time.Duration, log *zap.Logger) error {
	for i := len(stages) - 1; i >= 0; i-- {
		s := stages[i]
		if s.start == nil {
			continue
		}
		if err := s.start(ctx); err != nil {
			return errors.Join(err, stopStages(stages[i+1:], stopWithin, log))
		}
	}
	return nil
}

// stopStages stops the stages from the first to the last, and all of them: one that overruns its share of the time is left
// behind, so that those after it have theirs. What one leaves of its share is the next one's.
func stopStages(stages []stage, within time.Duration, log *zap.Logger) error {
	start, spent := time.Now(), 0
	var failed []error
	for _, s := range stages {
		spent += s.share
		began := time.Now()
		err := s.end(time.Until(start.Add(within * time.Duration(spent) / 100)))
		took := zap.Duration("durationMs", time.Since(began))
		if err != nil {
			log.Error("a part of the node did not stop well", zap.String("part", s.name), took, zap.Error(err), zap.String("means", s.means))
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		log.Info("stopped a part of the node", zap.String("part", s.name), took)
	}
	return errors.Join(failed...)
}

// end stops the stage, and waits for that no longer than share.
func (s stage) end(share time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(float64(share)*promptly))
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop(ctx) }()
	late := time.NewTimer(share)
	defer late.Stop()
	select {
	case err := <-stopped:
		return err
	case <-late.C:
		return errLeftBehind
	}
}

// runner is a loop of the node's: it runs from start to stop.
type runner struct {
	run    func(context.Context)
	cancel context.CancelFunc
	done   chan struct{}
}

func (r *runner) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() { defer close(r.done); r.run(ctx) }()
	return nil
}

func (r *runner) stop(ctx context.Context) error {
	r.cancel()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// partOf is a context that ends when a part of the time that is left to ctx has passed.
func partOf(ctx context.Context, part float64) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(float64(time.Until(end))*part))
}
