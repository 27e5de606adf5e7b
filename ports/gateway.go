package ports

import (
	"context"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// Routes are the APIs the gateway serves.
type Routes interface {
	// ActiveAPIs returns every active API with its endpoints.
	ActiveAPIs(ctx context.Context) ([]listing.API, error)
	// API returns one API in any status, with its endpoints. Fault: listing.ErrNotFound.
	API(ctx context.Context, api id.ID) (listing.API, error)
}

// ChangeFeed tells a node what others have changed.
type ChangeFeed interface {
	// Follow calls on with each batch of changes, in no particular order and possibly more than once, until ctx ends. It
	// reports within a poll interval even when notifications are lost, and keeps trying while the database is away.
	// started is closed when every change committed after that moment will be reported.
	Follow(ctx context.Context, started chan<- struct{}, on func([]Change)) error
}

// Change names what changed.
type Change struct {
	Kind    ChangeKind
	Subject string // ChangedAPI: its id; ChangedKey: its prefix
}

// ChangeKind is what sort of thing changed.
type ChangeKind string

// The kinds.
const (
	ChangedAPI ChangeKind = "api"
	ChangedKey ChangeKind = "key"
)
