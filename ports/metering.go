package ports

import (
	"context"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// Balances reads vaults.
type Balances interface {
	// BalanceOf returns a user's vault on a network. Fault: vault.NotFound.
	BalanceOf(ctx context.Context, user id.ID, network vault.Network) (vault.Balance, error)
}

// UsageReader reads a consumer's usage.
type UsageReader interface {
	// UsageEvents returns events, newest first, and how many match in all.
	UsageEvents(ctx context.Context, q UsageQuery) ([]UsageLine, int, error)
	// UsageStats adds up all events that match (Limit, Offset and Before do not apply).
	UsageStats(ctx context.Context, q UsageQuery) (UsageStats, error)
}

// UsageQuery selects a consumer's events with From <= time < To.
type UsageQuery struct {
	User          id.ID
	From, To      time.Time
	API           id.ID  // zero: all
	GroupBy       string // "", day, week (Monday, UTC), month
	Limit, Offset int
	Before        id.ID // zero: from the newest; else only events older than this one (keyset)
}

// UsageLine is one event as its consumer sees it.
type UsageLine struct {
	ID         id.ID
	APIID      id.ID
	APISlug    string
	EndpointID id.ID
	Method     string // of the endpoint
	Path       string // of the endpoint
	Status     int
	Latency    time.Duration
	Amount     money.Amount
	OccurredAt time.Time
}

// UsageStats are sums over events.
type UsageStats struct {
	Calls   int64
	Spent   money.Amount
	ByAPI   []UsageSum // by API id as text, most spent first
	Buckets []UsageSum // by first day of the period, YYYY-MM-DD, oldest first; empty without GroupBy
}

// UsageSum is one group of events.
type UsageSum struct {
	Name   string
	Calls  int64
	Amount money.Amount
}
