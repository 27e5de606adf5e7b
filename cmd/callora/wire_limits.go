package main

import (
	"context"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/ratelimit"
	"github.com/CalloraOrg/callora-backend/adapters/ratelimit/shared"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

// limits count the events of rate limits: in memory, or in a store that nodes share, to which run keeps up the connection.
type limits struct {
	runner
	ports.Limiter
	ready <-chan struct{}
	up    func() error // nil: there is no store
}

func newLimits(cfg *config.Config, log *zap.Logger, m *metrics.Metrics, now ports.Clock, newID ports.NewID) (*limits, error) {
	store, has, err := cfg.RateLimits.Store()
	if err != nil {
		return nil, err
	}
	if !has {
		ready := make(chan struct{})
		close(ready)
		return &limits{runner: runner{run: func(ctx context.Context) { <-ctx.Done() }}, Limiter: ratelimit.New(now), ready: ready}, nil
	}
	l := shared.New(shared.Config{
		Store: store, Prefix: cfg.RateLimits.StorePrefix, Node: newID().String(), Timeout: cfg.RateLimits.StoreTimeout.D(), Now: now,
		Log: log, Registry: m.Registry,
	})
	return &limits{runner: runner{run: l.Run}, Limiter: l, ready: l.Ready(), up: l.Up}, nil
}

// start returns when the store has been found, or is known to be away: the first calls count like all others.
func (l *limits) start(ctx context.Context) error {
	if err := l.runner.start(ctx); err != nil {
		return err
	}
	select {
	case <-l.ready:
		return nil
	case <-ctx.Done():
		l.cancel()
		return ctx.Err()
	}
}
