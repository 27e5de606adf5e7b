package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/gateway"
	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

var gatewayModule = fx.Module("gateway", fx.Provide(newLimits, func(l *limits) ports.Limiter { return l }, newGateway, func() *inFlight { return &inFlight{} }))

// gatewayNeeds is what the gateway is made of.
type gatewayNeeds struct {
	fx.In

	Config      *config.Config
	Log         *zap.Logger
	Metrics     *metrics.Metrics
	Charger     *charging.Charger
	Keys        *postgres.Keys
	Routes      *postgres.Routes
	Changes     *postgres.ChangeFeed
	Idempotency *postgres.Idempotency
	Limiter     ports.Limiter
	Now         ports.Clock
	NewID       ports.NewID
}

func newGateway(n gatewayNeeds) (*gateway.Gateway, error) {
	c := n.Config.Gateway
	return gateway.New(gateway.Config{
		ProxyTimeout: c.Timeout.D(), BodyLimit: int64(c.CallLimit), RatePerMinute: c.RateLimit, UnknownPerMinute: c.UnknownLimit,
		Idempotency: time.Duration(c.RetentionSeconds) * time.Second, ClaimLease: c.ClaimLease.D(), KeepMemory: int64(c.KeepMemory), AllowedHosts: c.HostAllowlist,
		LegacyUpstream: c.LegacyUpstream.URL, LegacyAllow: c.Ranges(), LegacyGuarded: c.Ranges() != nil,
		Proxies: n.Config.Proxies(), Profiling: c.Profiling,
	}, gateway.Deps{
		Charger: n.Charger, Keys: n.Keys, Routes: n.Routes, Changes: sharedFeed{n.Changes, n.Charger.Heed}, Idempotency: n.Idempotency, Limiter: n.Limiter,
		NewID: n.NewID, Now: n.Now, Log: n.Log, Registry: n.Metrics.Registry, MarkUsed: n.Keys.MarkUsed, Observe: n.Metrics.Observe,
	})
}

// sharedFeed is a feed that somebody else hears too: following it twice would cost two connections more. also must not block.
type sharedFeed struct {
	ports.ChangeFeed
	also func([]ports.Change)
}

// Follow implements ports.ChangeFeed.
func (f sharedFeed) Follow(ctx context.Context, started chan<- struct{}, on func([]ports.Change, time.Time)) error {
	return f.ChangeFeed.Follow(ctx, started, func(changes []ports.Change, asOf time.Time) {
		f.also(changes)
		on(changes, asOf)
	})
}

// newFollower keeps the gateway's keys and routes true to the database. It has started when the routes are there, so that a
// server that listens also serves.
func newFollower(g *gateway.Gateway, log *zap.Logger) *follower {
	return &follower{gateway: g, runner: runner{run: func(ctx context.Context) {
		if err := g.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("the gateway stopped following changes", zap.Error(err))
		}
	}}}
}

type follower struct {
	runner
	gateway *gateway.Gateway
}

func (f *follower) start(ctx context.Context) error {
	if err := f.runner.start(ctx); err != nil {
		return err
	}
	err := untilReady(ctx, f.gateway)
	if err != nil {
		f.cancel()
	}
	return err
}

// endCalls waits for calls whose connections are no HTTP server's any more. What is left at the end was cut, or does not
// notice; charging then refuses it.
func endCalls(ctx context.Context, g *gateway.Gateway, calls *inFlight, log *zap.Logger) error {
	byThemselves, cancel := partOf(ctx, 0.5)
	defer cancel()
	g.Drain(byThemselves)
	if !calls.wait(ctx) {
		log.Error("calls that do not end were left behind")
	}
	return nil
}

// noteKeys writes the last use of keys, which nobody's money depends on.
func noteKeys(ctx context.Context, g *gateway.Gateway, log *zap.Logger) error {
	if _, err := g.FlushUsed(ctx); err != nil {
		log.Warn("the last use of some keys was not noted", zap.Error(err))
	}
	return nil
}

// untilReady waits for the routes, so that a server that listens also serves.
func untilReady(ctx context.Context, g *gateway.Gateway) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !g.Ready() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the routes could not be loaded from the database in time")
		}
	}
	return nil
}
