package main

import (
	"github.com/jmoiron/sqlx"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

// options is the whole wiring. Constructors are plain Go and start nothing; only this file and its neighbours know fx. What
// starts and stops, and in which order, is said in node.go.
func options(cfg *config.Config, log *zap.Logger, p pools) fx.Option {
	return fx.Options(
		fx.WithLogger(func() fxevent.Logger { return fxevent.NopLogger }),
		fx.Supply(cfg, log),
		fx.Provide(func() ports.Clock { return system.Now }, func() ports.NewID { return system.NewID }, metrics.New),
		storage(p), chargingModule, gatewayModule, restModule,
		fx.Provide(newJobs, newServer),
	)
}

// storage provides the stores on their pools.
func storage(p pools) fx.Option {
	return fx.Module("storage",
		fx.Provide(func() *sqlx.DB { return p.main }),
		fx.Provide(newKeys, postgres.NewCatalog, postgres.NewBalances, postgres.NewUsageReader, postgres.NewRoutes,
			postgres.NewRevenue, postgres.NewIdempotency, newChangeFeed,
			func() *postgres.Leases { return postgres.NewLeases(p.money) },
			func() *postgres.Journal { return postgres.NewJournal(p.money) }),
	)
}

func newKeys(cfg *config.Config, handle *sqlx.DB) *postgres.Keys {
	return postgres.NewKeys(handle, cfg.Stellar.Network)
}

func newChangeFeed(cfg *config.Config, handle *sqlx.DB, log *zap.Logger) (*postgres.ChangeFeed, error) {
	feed, err := postgres.NewChangeFeed(handle, cfg.Database.Postgres())
	if err != nil {
		return nil, err
	}
	feed.OnTrouble = func(err error) { log.Warn("changes cannot be followed at present", zap.Error(err)) }
	return feed, nil
}
