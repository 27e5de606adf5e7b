package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/egress"
	"github.com/CalloraOrg/callora-backend/adapters/gateway/keys"
	"github.com/CalloraOrg/callora-backend/adapters/gateway/routes"
)

// Gateway serves /v1/call/{api}/{path} and /api/gateway/{apiId}. Mount it in front of any router that cleans or redirects
// paths: it reads the path as it was sent.
type Gateway struct {
	cfg     Config
	deps    Deps
	table   *routes.Table
	keys    *keys.Cache
	used    keys.Used
	proxy   *httputil.ReverseProxy
	own     *httputil.ReverseProxy // to the operator's legacy upstream
	ownAt   *routes.Target         // nil: legacy calls go to the API's own upstream
	metrics *meters
	claims  claims
	tunnels tunnels
	changed *changedAPIs
	looked  atomic.Pointer[time.Time] // all changes until then have been applied; nil: none was looked for yet
}

// New returns a gateway that refuses calls until Run has loaded the routes.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if cfg.Idempotency <= 0 {
		cfg.Idempotency = defaultRetention
	}
	if cfg.ClaimLease <= 0 {
		cfg.ClaimLease = defaultClaimLease
	}
	if cfg.KeepMemory <= 0 {
		cfg.KeepMemory = defaultKeepMemory
	}
	if cfg.StaleAfter <= 0 {
		cfg.StaleAfter = defaultStaleAfter
	}
	own := cfg.Engine
	if cfg.Engine == nil {
		guard, err := egress.NewGuard(cfg.AllowedHosts)
		if err != nil {
			return nil, err
		}
		cfg.Engine = newEngine(guard, cfg.MaxIdlePerHost)
		// What the operator configures may be private. Nobody else may reach it under that name, so it is no exemption.
		own = newEngine(nil, cfg.MaxIdlePerHost)
	}
	g := &Gateway{cfg: cfg, deps: deps, keys: keys.New(deps.Keys, deps.Now, cfg.RatePerMinute)}
	g.claims.store, g.claims.log, g.claims.lease, g.claims.retention = deps.Idempotency, deps.Log, cfg.ClaimLease, cfg.Idempotency
	g.claims.memory.Store(cfg.KeepMemory)
	g.changed = &changedAPIs{some: make(chan struct{}, 1)}
	g.table = routes.New(deps.Routes, deps.Now, func(err error) { deps.Log.Error("routes", zap.Error(err)) })
	if cfg.LegacyUpstream != nil {
		var err error
		if g.ownAt, err = routes.NewTarget(cfg.LegacyUpstream.String()); err != nil {
			return nil, err
		}
	}
	m, err := newMeters(deps.Registry, cfg.Profiling)
	if err != nil {
		return nil, fmt.Errorf("gateway metrics: %w", err)
	}
	g.metrics = m
	g.proxy, g.own = newProxy(cfg.Engine, deps.Log), newProxy(own, deps.Log)
	return g, nil
}

// Ready reports whether calls are served.
func (g *Gateway) Ready() bool { return g.table.Loaded() }

// FlushUsed reports the keys used since the last time to Deps.MarkUsed and returns how many.
func (g *Gateway) FlushUsed(ctx context.Context) (int, error) {
	last := g.used.Take()
	if len(last) == 0 || g.deps.MarkUsed == nil {
		return 0, nil
	}
	if err := g.deps.MarkUsed(ctx, last); err != nil {
		g.used.PutBack(last)
		return 0, fmt.Errorf("mark keys as used: %w", err)
	}
	return len(last), nil
}

// Drain waits for upgraded connections (WebSocket), which no HTTP server waits for, and closes those that are left when
// ctx ends.
func (g *Gateway) Drain(ctx context.Context) { g.tunnels.drain(ctx) }

var _ http.Handler = (*Gateway)(nil)
