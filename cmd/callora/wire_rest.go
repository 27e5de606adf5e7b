package main

import (
	"crypto/rand"
	"net/http"

	"github.com/jmoiron/sqlx"
	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/egress"
	"github.com/CalloraOrg/callora-backend/adapters/gateway"
	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/api"
	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/app/access"
	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/app/catalog"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/app/metering"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

var restModule = fx.Module("rest", fx.Provide(newCatalog, newAccess, newBilling, newMetering, newHealth, newREST))

func newCatalog(cfg *config.Config, store *postgres.Catalog, g *gateway.Gateway, now ports.Clock, newID ports.NewID) (api.Catalog, error) {
	upstreams, err := egress.NewGuard(cfg.Gateway.HostAllowlist)
	if err != nil {
		return api.Catalog{}, err
	}
	return api.Catalog{
		List:    catalog.ListAPIs{Catalog: store},
		Get:     catalog.GetAPI{Catalog: store},
		Publish: catalog.PublishAPI{Store: store, Upstreams: upstreams, Gateway: g, Now: now, NewID: newID},
	}, nil
}

func newAccess(cfg *config.Config, keys *postgres.Keys, apis *postgres.Catalog, g *gateway.Gateway, now ports.Clock, newID ports.NewID) api.Access {
	return api.Access{
		Issue:  access.IssueKey{Keys: keys, Catalog: apis, Now: now, NewID: newID, Random: rand.Reader},
		List:   access.ListKeys{Keys: keys},
		Rotate: access.RotateKey{Keys: keys, Gateway: g, Now: now, NewID: newID, Random: rand.Reader, Grace: cfg.Rest.KeyGrace.D()},
		Revoke: access.RevokeKey{Keys: keys, Gateway: g, Now: now},
	}
}

func newBilling(cfg *config.Config, balances *postgres.Balances) api.Billing {
	return api.Billing{GetBalance: billing.GetBalance{Balances: balances, Network: cfg.Stellar.Network}}
}

func newMetering(reader *postgres.UsageReader, now ports.Clock) api.Metering {
	return api.Metering{GetUsage: metering.GetUsage{Reader: reader, Now: now}}
}

func newHealth(cfg *config.Config, handle *sqlx.DB, l *limits, now ports.Clock) health.CheckHealth {
	return health.CheckHealth{Checks: healthChecks(cfg, handle, l), Now: now}
}

// restHandler keeps the REST API's handler apart from others in the wiring.
type restHandler http.Handler

// restNeeds is what the REST API is made of.
type restNeeds struct {
	fx.In

	Config   *config.Config
	Log      *zap.Logger
	Metrics  *metrics.Metrics
	Limiter  ports.Limiter
	Now      ports.Clock
	NewID    ports.NewID
	Health   health.CheckHealth
	Catalog  api.Catalog
	Access   api.Access
	Billing  api.Billing
	Metering api.Metering
}

func newREST(n restNeeds) (restHandler, error) {
	cfg := n.Config
	return api.New(
		api.Config{Version: cfg.Version, Config: edge.Config{
			Production: cfg.Production(), JWTSecret: []byte(cfg.JWTSecret), MetricsKey: string(cfg.MetricsKey),
			BodyLimit: int64(cfg.Rest.RequestLimit), RateLimit: cfg.Rest.RateMax, PublicLimit: cfg.Rest.PublicMax, RateWindow: cfg.Rest.RateWindow.D(),
			Proxies: cfg.Proxies(), UserHeaderFrom: cfg.UserHeaderFrom, CORS: corsOf(cfg),
		}},
		api.UseCases{Health: n.Health, Catalog: n.Catalog, Access: n.Access, Billing: n.Billing, Metering: n.Metering},
		api.Deps{Metrics: n.Metrics.Handler(), Deps: edge.Deps{
			Log: n.Log, Now: n.Now, NewID: n.NewID, Limiter: n.Limiter, Observe: n.Metrics.Observe,
		}},
	)
}

func corsOf(cfg *config.Config) edge.CORS {
	return edge.CORS{Origins: cfg.Origins, Development: cfg.Env == "development", Production: cfg.Production()}
}

// malformed is how metrics name requests that no handler has seen.
const malformed = "_malformed"

func newServer(cfg *config.Config, log *zap.Logger, rest restHandler, g *gateway.Gateway, calls *inFlight, m *metrics.Metrics,
	newID ports.NewID) (*server, error) {
	refused := func(status int) { m.Observe("", malformed, "other", status, 0) }
	return makeServer(dispatch(rest, forBrowsers(corsOf(cfg), g), calls), log, newID, refused)
}

// forBrowsers adds CORS to calls that come from a page; all others, nearly all, pass as they are.
func forBrowsers(cors edge.CORS, calls http.Handler) http.Handler {
	wrapped := cors.Wrap(calls)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, page := r.Header["Origin"]; page {
			wrapped.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}
