package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/dig"
	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/gateway"
	"github.com/CalloraOrg/callora-backend/adapters/worker"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
)

// node is one running process of the backend: REST, gateway, charging and periodic jobs on one port.
type node struct {
	server     *server
	stages     []stage
	stopWithin time.Duration
	log        *zap.Logger
}

const startTimeout = time.Minute

// parts are what starts and stops.
type parts struct {
	fx.In

	Config  *config.Config
	Log     *zap.Logger
	Server  *server
	Calls   *inFlight
	Gateway *gateway.Gateway
	Jobs    []worker.Job
	Charger *charging.Charger
	Limits  *limits
}

// startNode returns when the node serves.
func startNode(ctx context.Context, cfg *config.Config, log *zap.Logger) (*node, error) {
	if err := portIsFree(ctx, cfg.ListenHost(), cfg.Port); err != nil {
		return nil, err
	}
	p, err := openPools(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n := &node{stopWithin: cfg.ShutdownFor.D(), log: log}
	if err := prepareDatabase(ctx, cfg, p.main, log); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	app := fx.New(options(cfg, log, p), fx.Invoke(func(made parts) { n.server, n.stages = made.Server, stagesOf(made, p) }))
	if err := app.Err(); err != nil {
		return nil, errors.Join(dig.RootCause(err), p.close(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout) // migrations before it take the time they need
	defer cancel()
	if err := startStages(ctx, n.stages, n.stopWithin, log); err != nil {
		return nil, err
	}
	return n, nil
}

// stagesOf is the node in the order of stopping: nothing new comes in, what runs ends, then the charges of it all are
// stored and the leases given back, and only then do the connections to the database close. It starts from the end.
func stagesOf(p parts, db pools) []stage {
	follow, jobs := newFollower(p.Gateway, p.Log), newJobRunner(p.Jobs, p.Log)
	return []stage{
		{name: "connections", share: 58, stop: p.Server.stop,
			start: func(ctx context.Context) error { return p.Server.open(ctx, p.Config.ListenHost(), p.Config.Port) }},
		{name: "calls", share: 8, stop: func(ctx context.Context) error { return endCalls(ctx, p.Gateway, p.Calls, p.Log) },
			means: "calls or tunnels that do not end were left behind; what they hold is not charged, and free again after LEASE_TTL_MS"},
		{name: "jobs", share: 7, start: jobs.start, stop: jobs.stop},
		{name: "charging", share: 17, stop: p.Charger.Drain,
			means: "charges may be missing: callers of durable calls were told so (503), async ones are lost; leases return after LEASE_TTL_MS",
			start: func(context.Context) error { p.Charger.Start(); return nil }},
		{name: "last use of keys", share: 2, stop: func(ctx context.Context) error { return noteKeys(ctx, p.Gateway, p.Log) },
			means: "some keys show an earlier last use than they had"},
		{name: "changes", share: 2, start: follow.start, stop: follow.stop,
			means: "the change feed does not hear the end of its connection; nothing is lost"},
		{name: "rate limits", share: 2, start: p.Limits.start, stop: p.Limits.stop,
			means: "other nodes count this one for some seconds more, which matters only while the rate limits' store is away"},
		{name: "database", share: 4, stop: db.close,
			means: "the database does not answer; it ends the connections itself in time"},
	}
}

// Addr is where the node listens.
func (n *node) Addr() string { return n.server.addr.String() }

// Failed is closed when the node accepts no more connections.
func (n *node) Failed() <-chan struct{} { return n.server.done }

// Stop ends the node within SHUTDOWN_TIMEOUT_MS. An error says that something was left undone that others may miss; calls
// that had to be cut are none.
func (n *node) Stop() error { return stopStages(n.stages, n.stopWithin, n.log) }
