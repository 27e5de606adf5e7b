package main

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/jmoiron/sqlx"
	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/egress"
	"github.com/CalloraOrg/callora-backend/adapters/gateway"
	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/api"
	"github.com/CalloraOrg/callora-backend/app/access"
	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/app/catalog"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/app/metering"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

var restModule = fx.Module("rest", fx.Provide(newUseCases, newREST))

// useCaseNeeds is what the use cases are made of.
type useCaseNeeds struct {
	fx.In

	Config   *config.Config
	Handle   *sqlx.DB
	Keys     *postgres.Keys
	Catalog  *postgres.Catalog
	Balances *postgres.Balances
	Usage    *postgres.UsageReader
	Now      ports.Clock
	NewID    ports.NewID
}

func newUseCases(n useCaseNeeds) (api.UseCases, error) {
	upstreams, err := egress.NewGuard(n.Config.Gateway.HostAllowlist)
	if err != nil {
		return api.UseCases{}, err
	}
	return api.UseCases{
		CheckHealth: health.CheckHealth{Checks: healthChecks(n.Config, n.Handle), Now: n.Now},
		ListAPIs:    catalog.ListAPIs{Catalog: n.Catalog},
		GetAPI:      catalog.GetAPI{Catalog: n.Catalog},
		PublishAPI:  catalog.PublishAPI{Store: n.Catalog, Upstreams: upstreams, Now: n.Now, NewID: n.NewID},
		IssueKey:    access.IssueKey{Keys: n.Keys, Catalog: n.Catalog, Now: n.Now, NewID: n.NewID, Random: rand.Reader},
		ListKeys:    access.ListKeys{Keys: n.Keys},
		RotateKey:   access.RotateKey{Keys: n.Keys, Now: n.Now, NewID: n.NewID, Random: rand.Reader, Grace: n.Config.Rest.KeyGrace.D()},
		RevokeKey:   access.RevokeKey{Keys: n.Keys, Now: n.Now},
		GetBalance:  billing.GetBalance{Balances: n.Balances, Network: n.Config.Stellar.Network},
		GetUsage:    metering.GetUsage{Reader: n.Usage, Now: n.Now},
	}, nil
}

// restHandler keeps the REST API's handler apart from others in the wiring.
type restHandler http.Handler

func newREST(cfg *config.Config, uses api.UseCases, log *zap.Logger, m *metrics.Metrics, limiter ports.Limiter, now ports.Clock, newID ports.NewID) (restHandler, error) {
	return api.New(api.Config{
		Production: cfg.Production(), Version: cfg.Version, JWTSecret: []byte(cfg.JWTSecret), MetricsKey: string(cfg.MetricsKey),
		BodyLimit: int64(cfg.Rest.RequestLimit), RateLimit: cfg.Rest.RateMax, RateWindow: cfg.Rest.RateWindow.D(),
		Proxies: httpkit.Proxies{LastHop: cfg.Rest.TrustedHops}, CORS: corsOf(cfg),
	}, uses, api.Deps{Log: log, Now: now, NewID: newID, Limiter: limiter, Metrics: m.Handler(), Observe: m.Observe})
}

func corsOf(cfg *config.Config) api.CORS {
	return api.CORS{Origins: cfg.Origins, Development: cfg.Env == "development", Production: cfg.Production()}
}

// newServer is the front door, started last and stopped first.
func newServer(lc fx.Lifecycle, cfg *config.Config, log *zap.Logger, rest restHandler, g *gateway.Gateway, calls *inFlight) (*server, error) {
	s, err := makeServer(dispatch(rest, forBrowsers(corsOf(cfg), g), calls), log)
	if err != nil {
		return nil, err
	}
	lc.Append(fx.Hook{
		OnStart: func(ctx context.Context) error { return s.open(ctx, cfg.Host, cfg.Port) },
		OnStop:  s.stop,
	})
	return s, nil
}

// forBrowsers adds CORS to calls that come from a page; all others, nearly all, pass as they are.
func forBrowsers(cors api.CORS, calls http.Handler) http.Handler {
	wrapped := cors.Wrap(calls)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, page := r.Header["Origin"]; page {
			wrapped.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}
