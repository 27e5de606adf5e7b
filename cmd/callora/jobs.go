package main

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/gateway"
	"github.com/CalloraOrg/callora-backend/adapters/metrics"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/worker"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
)

// How much one pass does at most, and how long it may take.
const (
	expiryBatch = 500
	sweepBatch  = 5000
	shortPass   = 10 * time.Second
	longPass    = time.Minute
)

// newJobs returns the periodic jobs of a node. Each is bounded, safe to repeat, and safe to run on several nodes at once.
func newJobs(cfg *config.Config, handle *sqlx.DB, leases *postgres.Leases, revenue *postgres.Revenue, once *postgres.Idempotency,
	feed *postgres.ChangeFeed, g *gateway.Gateway, m *metrics.Metrics, log *zap.Logger) []worker.Job {
	p := cfg.Jobs
	return []worker.Job{
		{Name: "lease-expiry", Every: p.LeaseExpiryEvery.D(), Timeout: shortPass, Full: expiryBatch,
			Run: func(ctx context.Context) (int, error) { return leases.ExpireLeases(ctx, expiryBatch) }},
		{Name: "revenue-ledger", Every: p.RevenueEvery.D(), Timeout: longPass, Full: 1, // call
			Run: func(ctx context.Context) (int, error) { return revenue.IndexRevenue(ctx, p.RevenueBatch) }},
		partitionsJob(p.PartitionsEvery.D(), postgres.NewPartitions(handle, partitionsAhead), metrics.NewPartitions(m), log),
		{Name: "idempotency-sweep", Every: p.SweepEvery.D(), Timeout: longPass, Full: sweepBatch,
			Run: func(ctx context.Context) (int, error) { return once.Sweep(ctx, sweepBatch) }},
		{Name: "changes-prune", Every: p.SweepEvery.D(), Timeout: longPass, Run: feed.Prune},
		{Name: "key-last-used", Every: p.KeyUseEvery.D(), Timeout: shortPass, Run: g.FlushUsed},
	}
}

// jobRunner runs the jobs. At the end a pass under way may finish; one that takes too long is broken off, and loses nothing:
// the next pass, here or on another node, does its work.
type jobRunner struct {
	runner
	breakOff context.CancelFunc
	log      *zap.Logger
}

func newJobRunner(jobs []worker.Job, log *zap.Logger) *jobRunner {
	broken, breakOff := context.WithCancel(context.Background())
	bounded := slices.Clone(jobs)
	for i, j := range jobs {
		bounded[i].Run = func(ctx context.Context) (int, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(broken, cancel)()
			return j.Run(ctx)
		}
	}
	return &jobRunner{breakOff: breakOff, log: log, runner: runner{run: func(ctx context.Context) { worker.Run(ctx, log, bounded...) }}}
}

func (r *jobRunner) stop(ctx context.Context) error {
	byThemselves, cancel := partOf(ctx, 0.7)
	defer cancel()
	if r.runner.stop(byThemselves) == nil {
		return nil
	}
	r.log.Warn("a pass took too long at the end and was broken off; the next one does its work")
	r.breakOff()
	if r.runner.stop(ctx) != nil {
		r.log.Error("a pass that does not end was left behind")
	}
	return nil
}
