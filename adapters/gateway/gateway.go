package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"

	"go.uber.org/zap"
)

// Gateway serves /v1/call/{api}/{path} and /api/gateway/{apiId}. Mount it in front of any router that cleans or redirects
// paths: it reads the path as it was sent.
type Gateway struct {
	cfg     Config
	deps    Deps
	table   table
	keys    *keyCache
	used    usedKeys
	proxy   *httputil.ReverseProxy
	metrics *meters
	tunnels tunnels
}

// New returns a gateway that refuses calls until Run has loaded the routes.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if cfg.Engine == nil {
		hosts := cfg.AllowedHosts
		if cfg.LegacyUpstream != nil {
			hosts = append(hosts[:len(hosts):len(hosts)], cfg.LegacyUpstream.Host) // the operator's own
		}
		guard, err := NewGuard(hosts)
		if err != nil {
			return nil, err
		}
		cfg.Engine = newEngine(guard, cfg.MaxIdlePerHost)
	}
	g := &Gateway{cfg: cfg, deps: deps, keys: newKeyCache(deps.Keys)}
	g.table = table{source: deps.Routes, report: func(err error) { deps.Log.Error("routes", zap.Error(err)) }}
	m, err := newMeters(deps.Registry, cfg.Profiling)
	if err != nil {
		return nil, fmt.Errorf("gateway metrics: %w", err)
	}
	g.metrics = m
	g.proxy = g.newProxy()
	return g, nil
}

// Ready reports whether calls are served.
func (g *Gateway) Ready() bool { return g.table.loaded() }

// FlushUsed reports the keys used since the last time to Deps.MarkUsed and returns how many.
func (g *Gateway) FlushUsed(ctx context.Context) (int, error) {
	last := g.used.take()
	if len(last) == 0 || g.deps.MarkUsed == nil {
		return 0, nil
	}
	if err := g.deps.MarkUsed(ctx, last); err != nil {
		g.used.putBack(last)
		return 0, fmt.Errorf("mark keys as used: %w", err)
	}
	return len(last), nil
}

// Drain waits for upgraded connections (WebSocket), which no HTTP server waits for, and closes those that are left when
// ctx ends.
func (g *Gateway) Drain(ctx context.Context) { g.tunnels.drain(ctx) }

var _ http.Handler = (*Gateway)(nil)
