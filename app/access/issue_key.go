package access

import (
	"context"
	"fmt"
	"io"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// IssueKey gives a signed-in consumer a key for an active API.
type IssueKey struct {
	Keys    ports.Keys
	Catalog ports.Catalog
	Now     ports.Clock
	NewID   ports.NewID
	Random  io.Reader
}

// IssueKeyInput asks for a key.
type IssueKeyInput struct {
	Actor              id.ID
	API                string   // id or slug
	Scopes             []string // nil: every scope
	RateLimitPerMinute *int     // nil: the gateway's own limit
}

// Issued is a new key; Plain is its secret, which exists nowhere else and is shown once.
type Issued struct {
	Key   apikey.Key
	Plain string
}

// Do issues the key. Faults: VALIDATION_ERROR, listing.ErrNotFound.
func (uc IssueKey) Do(ctx context.Context, in IssueKeyInput) (Issued, error) {
	if err := checkGrant(in.Scopes, in.RateLimitPerMinute); err != nil {
		return Issued{}, err
	}
	api, err := uc.Catalog.ListedAPI(ctx, in.API)
	if err != nil {
		return Issued{}, fmt.Errorf("issue a key: %w", err)
	}
	if err := checkSold(in.Scopes, api.Endpoints); err != nil {
		return Issued{}, err
	}
	key := apikey.Key{ID: uc.NewID(), UserID: in.Actor, APIID: api.ID, Scopes: in.Scopes, CreatedAt: moment(uc.Now)}
	if key.Scopes == nil {
		key.Scopes = []string{apikey.AllScopes}
	}
	if in.RateLimitPerMinute != nil {
		key.RateLimitPerMinute = *in.RateLimitPerMinute
	}
	plain, err := drawUntilFree(uc.Random, &key, func() error { return uc.Keys.Issue(ctx, key) })
	if err != nil {
		return Issued{}, fmt.Errorf("issue a key: %w", err)
	}
	return Issued{Key: key, Plain: plain}, nil
}
