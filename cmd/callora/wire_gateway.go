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
	"github.com/CalloraOrg/callora-backend/adapters/ratelimit"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

var gatewayModule = fx.Module("gateway", fx.Provide(newLimiter, newGateway, func() *inFlight { return &inFlight{} }))

func newLimiter(now ports.Clock) ports.Limiter { return ratelimit.New(now) }

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
	Calls       *inFlight
}

func newGateway(lc fx.Lifecycle, n gatewayNeeds) (*gateway.Gateway, error) {
	c := n.Config.Gateway
	g, err := gateway.New(gateway.Config{
		ProxyTimeout: c.Timeout.D(), BodyLimit: int64(c.CallLimit), RatePerMinute: c.RateLimit,
		Idempotency: time.Duration(c.RetentionSeconds) * time.Second, AllowedHosts: c.HostAllowlist,
		LegacyUpstream: c.LegacyUpstream.URL, LegacyAllow: c.Ranges(), LegacyGuarded: c.Ranges() != nil,
		Proxies: n.Config.Proxies(), Profiling: c.Profiling,
	}, gateway.Deps{
		Charger: n.Charger, Keys: n.Keys, Routes: n.Routes, Changes: n.Changes, Idempotency: n.Idempotency, Limiter: n.Limiter,
		NewID: n.NewID, Now: n.Now, Log: n.Log, Registry: n.Metrics.Registry, MarkUsed: n.Keys.MarkUsed, Observe: n.Metrics.Observe,
	})
	if err != nil {
		return nil, err
	}
	follow, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	run := func() {
		defer close(done)
		if err := g.Run(follow); err != nil && follow.Err() == nil {
			n.Log.Error("the gateway stopped following changes", zap.Error(err))
		}
	}
	lc.Append(fx.Hook{
		OnStart: func(start context.Context) error {
			go run()
			return untilReady(start, g)
		},
		OnStop: func(stop context.Context) error {
			defer func() { cancel(); <-done }()
			g.Drain(beforeWriter(stop))
			if !n.Calls.wait(stop) {
				n.Log.Error("calls were still in flight at the end of the shutdown")
			}
			if _, err := g.FlushUsed(stop); err != nil {
				n.Log.Warn("the last use of some keys was not noted", zap.Error(err))
			}
			return nil
		},
	})
	return g, nil
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
