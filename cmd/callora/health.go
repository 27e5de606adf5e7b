package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/stellarprobe"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
)

// healthChecks are what GET /api/health asks. Without the database nothing works; the chain's services and the store of
// rate limits are watched only when they are configured. Half of a time-out is slow: a threshold at the time-out itself could never be seen.
func healthChecks(cfg *config.Config, handle *sqlx.DB, l *limits) []health.Check {
	checks := []health.Check{check("database", cfg.Rest.HealthDB.D(), func(ctx context.Context) error {
		return handle.PingContext(ctx)
	})}
	checks[0].Critical = true
	if l.up != nil {
		checks = append(checks, check("rate_limit_store", cfg.RateLimits.StoreTimeout.D(), func(context.Context) error { return l.up() }))
	}
	s := cfg.Stellar
	if s.RPCEnabled {
		checks = append(checks, watched("soroban_rpc", s.RPCTimeout.D(), stellarprobe.RPC, s.RPCURL.URL))
	}
	if s.HorizonEnabled {
		checks = append(checks, watched("horizon", s.HorizonTimeout.D(), stellarprobe.Horizon, s.HorizonURL.URL))
	}
	return checks
}

func check(name string, timeout time.Duration, probe func(context.Context) error) health.Check {
	return health.Check{Name: name, Timeout: timeout, Slow: timeout / 2, Probe: probe}
}

func watched(name string, timeout time.Duration, probe func(*http.Client, *url.URL) stellarprobe.Probe, at *url.URL) health.Check {
	ask := probe(&http.Client{Timeout: timeout}, at)
	return check(name, timeout, func(ctx context.Context) error {
		err := ask(ctx)
		if errors.Is(err, stellarprobe.ErrUnwell) {
			return fmt.Errorf("%w: %w", health.ErrDegraded, err)
		}
		return err
	})
}
