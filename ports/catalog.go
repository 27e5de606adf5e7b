package ports

import (
	"context"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// Catalog reads the marketplace.
type Catalog interface {
	// ListedAPIs returns active APIs with endpoints and developer, newest first, and how many match in all.
	ListedAPIs(ctx context.Context, q ListingQuery) ([]ListedAPI, int, error)
	// ListedAPI returns one active API by id or slug. Fault: listing.ErrNotFound.
	ListedAPI(ctx context.Context, ref string) (ListedAPI, error)
}

// ListingQuery selects listed APIs. Empty strings select everything.
type ListingQuery struct {
	Category      string // exact
	Search        string // part of name or description, in any case
	Limit, Offset int
}

// ListedAPI is an API with its seller.
type ListedAPI struct {
	listing.API
	Developer listing.Developer
}

// Publishing writes the marketplace.
type Publishing interface {
	// DeveloperOf returns the developer profile of a user. Fault: listing.ErrNoDeveloper.
	DeveloperOf(ctx context.Context, user id.ID) (listing.Developer, error)
	// Publish stores an API and its endpoints, all or nothing. Fault: listing.ErrSlugTaken.
	Publish(ctx context.Context, a listing.API) error
}

// UpstreamCheck judges a base URL before it is published.
type UpstreamCheck interface {
	// CheckUpstream returns a message for the publisher when the gateway would refuse to call the URL, "" when it is fine.
	CheckUpstream(ctx context.Context, baseURL string) string
}
