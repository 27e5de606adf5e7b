package access

import (
	"context"
	"fmt"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// RevokeKey ends a key at once. Revoking it again changes nothing.
type RevokeKey struct {
	Keys    ports.Keys
	Gateway ports.Invalidator
	Now     ports.Clock
}

// RevokeKeyInput names the key.
type RevokeKeyInput struct{ Actor, Key id.ID }

// Do revokes the key. Faults: apikey.ErrNotFound, apikey.ErrForbidden.
func (uc RevokeKey) Do(ctx context.Context, in RevokeKeyInput) error {
	err := uc.Keys.Revoke(ctx, in.Actor, in.Key, uc.Now())
	forget(uc.Gateway, in.Key, err)
	if err != nil {
		return fmt.Errorf("revoke a key: %w", err)
	}
	return nil
}
