package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/dig"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/adapters/worker"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/ports"
)

// node is one running process of the backend: REST, gateway, charging and passes on one port.
type node struct {
	app    *fx.App
	server *server
}

const startTimeout = time.Minute

// startNode returns when the node serves.
func startNode(ctx context.Context, cfg *config.Config, log *zap.Logger) (*node, error) {
	handle, err := openDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := prepareDatabase(ctx, cfg, handle, log); err != nil {
		_ = handle.Close()
		return nil, err
	}
	n := &node{server: &server{}}
	n.app = fx.New(options(cfg, log, handle), fx.Populate(&n.server))
	if err := n.app.Err(); err != nil {
		_ = handle.Close()
		return nil, dig.RootCause(err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.app.Start(ctx); err != nil {
		return nil, err // fx has stopped what it had started
	}
	return n, nil
}

// Addr is where the node listens.
func (n *node) Addr() string { return n.server.addr.String() }

// Failed is closed when the node accepts no more connections.
func (n *node) Failed() <-chan struct{} { return n.server.done }

// Stop ends the node in the opposite order of its start: no new connections, calls drain, passes finish, charges are
// stored and leases given back, the pool closes. All within SHUTDOWN_TIMEOUT_MS.
func (n *node) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.app.StopTimeout())
	defer cancel()
	if err := n.app.Stop(ctx); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	return nil
}

// options is the whole wiring. Constructors are plain Go; only this file and its neighbours know fx. fx stops hooks in
// the opposite order of their start, and a part starts after those it needs.
func options(cfg *config.Config, log *zap.Logger, handle *sqlx.DB) fx.Option {
	return fx.Options(
		fx.WithLogger(func() fxevent.Logger { return fxevent.NopLogger }),
		fx.StartTimeout(startTimeout), fx.StopTimeout(cfg.ShutdownFor.D()),
		fx.Supply(cfg, log),
		fx.Provide(func() ports.Clock { return system.Now }, func() ports.NewID { return system.NewID }, metrics.New),
		storage(handle), chargingModule, gatewayModule, restModule,
		fx.Provide(runJobs, newServer),
		fx.Invoke(func(*jobsRunning, *server) {}),
	)
}

// storage provides the stores on the pool, and closes it last.
func storage(handle *sqlx.DB) fx.Option {
	return fx.Module("storage",
		fx.Provide(func(lc fx.Lifecycle) *sqlx.DB {
			lc.Append(fx.Hook{OnStop: func(context.Context) error { return handle.Close() }})
			return handle
		}),
		fx.Provide(postgres.NewKeys, postgres.NewCatalog, postgres.NewBalances, postgres.NewUsageReader, postgres.NewRoutes,
			postgres.NewRevenue, postgres.NewIdempotency, newChangeFeed),
		fx.Provide(openMoneyPool,
			func(m moneyPool) *postgres.Leases { return postgres.NewLeases(m.DB) },
			func(m moneyPool) *postgres.Journal { return postgres.NewJournal(m.DB) }),
	)
}

// moneyPool is charging's own connections: no report and no pass can keep a charge waiting for one.
type moneyPool struct{ *sqlx.DB }

// moreForMoney is what charging needs besides a connection for each writer: grants, renewals, the expiry pass.
const moreForMoney = 4

func openMoneyPool(lc fx.Lifecycle, cfg *config.Config) (moneyPool, error) {
	c := cfg.Database.Postgres()
	c.MaxOpen, c.ApplicationName = cfg.Metering.Shards+moreForMoney, "callora-charging"
	c.Settings = map[string]string{"plan_cache_mode": "force_generic_plan"} // one plan fits every batch; making it anew costs 10%
	handle, err := postgres.Open(context.Background(), c)
	if err != nil {
		return moneyPool{}, err
	}
	lc.Append(fx.Hook{OnStop: func(context.Context) error { return handle.Close() }})
	return moneyPool{handle}, nil
}

func newChangeFeed(cfg *config.Config, handle *sqlx.DB, log *zap.Logger) (*postgres.ChangeFeed, error) {
	feed, err := postgres.NewChangeFeed(handle, cfg.Database.Postgres())
	if err != nil {
		return nil, err
	}
	feed.OnTrouble = func(err error) { log.Warn("changes cannot be followed at present", zap.Error(err)) }
	return feed, nil
}

// jobsRunning stands for the passes in the order of start and stop.
type jobsRunning struct{}

func runJobs(lc fx.Lifecycle, log *zap.Logger, jobs []worker.Job) *jobsRunning {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	lc.Append(fx.Hook{
		OnStart: func(context.Context) error {
			go func() { defer close(done); worker.Run(ctx, log, jobs...) }()
			return nil
		},
		OnStop: func(stop context.Context) error {
			cancel()
			select {
			case <-done:
			case <-stop.Done():
				log.Warn("a pass was still running at the end of the shutdown")
			}
			return nil
		},
	})
	return &jobsRunning{}
}
