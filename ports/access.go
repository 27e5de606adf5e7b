package ports

import (
	"context"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

// KeyLookup finds a key for the gateway.
type KeyLookup interface {
	// KeyByPrefix returns the key with a public prefix, revoked ones included, and whether its owner's vault is stopped. Fault:
	// apikey.ErrNotFound.
	KeyByPrefix(ctx context.Context, prefix string) (apikey.Key, error)
}

// Keys are a consumer's API keys.
type Keys interface {
	// Issue stores a new key, and its owner when the user is new. Faults: apikey.ErrPrefixTaken.
	Issue(ctx context.Context, k apikey.Key) error
	// Rotate stores next in place of old in one transaction: old ends at graceEnd and names next. Faults:
	// apikey.ErrNotFound, apikey.ErrForbidden (another owner), apikey.ErrRevoked (ended or already replaced),
	// apikey.ErrPrefixTaken. next takes API, scopes and limit from old; the stored key is returned.
	Rotate(ctx context.Context, old id.ID, next apikey.Key, graceEnd time.Time) (apikey.Key, error)
	// Revoke ends a key at once; revoking twice is no error. Faults: apikey.ErrNotFound, apikey.ErrForbidden.
	Revoke(ctx context.Context, owner, key id.ID, at time.Time) error
	// OfOwner lists an owner's keys, newest first, with their number.
	OfOwner(ctx context.Context, owner id.ID, limit, offset int) ([]apikey.Key, int, error)
}
