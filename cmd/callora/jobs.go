package main

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/gateway"
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
	feed *postgres.ChangeFeed, g *gateway.Gateway) []worker.Job {
	p := cfg.Jobs
	return []worker.Job{
		{Name: "lease-expiry", Every: p.LeaseExpiryEvery.D(), Timeout: shortPass, Full: expiryBatch,
			Run: func(ctx context.Context) (int, error) { return leases.ExpireLeases(ctx, expiryBatch) }},
		{Name: "revenue-ledger", Every: p.RevenueEvery.D(), Timeout: longPass, Full: p.RevenueBatch,
			Run: func(ctx context.Context) (int, error) { return revenue.IndexRevenue(ctx, p.RevenueBatch) }},
		{Name: "usage-partitions", Every: p.PartitionsEvery.D(), Timeout: longPass,
			Run: func(ctx context.Context) (int, error) { return postgres.MakePartitions(ctx, handle, partitionsAhead) }},
		{Name: "idempotency-sweep", Every: p.SweepEvery.D(), Timeout: longPass, Full: sweepBatch,
			Run: func(ctx context.Context) (int, error) { return once.Sweep(ctx, sweepBatch) }},
		{Name: "changes-prune", Every: p.SweepEvery.D(), Timeout: longPass, Run: feed.Prune},
		{Name: "key-last-used", Every: p.KeyUseEvery.D(), Timeout: shortPass, Run: g.FlushUsed},
	}
}
