package ports

import (
	"context"
	"time"

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
	// Follow calls on after each good look with what has changed, in no particular order and possibly more than once, or with
	// nothing: all that was committed before asOf, a time of this node's clock, has then been reported. It looks within a poll
	// interval even when notifications are lost, and keeps trying while the database is away, until ctx ends. started is
	// closed when every change committed after that moment will be reported.
	Follow(ctx context.Context, started chan<- struct{}, on func(changes []Change, asOf time.Time)) error
}

// Invalidator makes this node's gateway forget what it has in memory. A use case that has changed something calls it before it
// answers: this node learns of its own changes at once, and others from the ChangeFeed.
type Invalidator interface {
	// ForgetKey is for a key that has ended, or may have: the change's outcome may be unknown.
	ForgetKey(key id.ID)
	// ForgetAPI is for an API that has appeared, changed or gone.
	ForgetAPI(api id.ID)
}

// Change names what changed.
type Change struct {
	Kind    ChangeKind
	Subject string // ChangedAPI: its id; ChangedKey: its prefix; ChangedOwner, Recalled: the user's id
}

// ChangeKind is what sort of thing changed.
type ChangeKind string

// The kinds.
const (
	ChangedAPI   ChangeKind = "api"
	ChangedKey   ChangeKind = "key"
	ChangedOwner ChangeKind = "owner" // of keys: what all of them depend on, such as the vault's stop

	// Recalled changes nothing: a node is short of the user's money, and others are to give back what they do not need of it.
	Recalled ChangeKind = "recall"
)
