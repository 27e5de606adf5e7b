package access

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// RotateKey replaces a key by a new one with the same API, scopes and limit. The old one works on for Grace, so that its
// users can change over without a gap.
type RotateKey struct {
	Keys    ports.Keys
	Gateway ports.Invalidator
	Now     ports.Clock
	NewID   ports.NewID
	Random  io.Reader
	Grace   time.Duration
}

// RotateKeyInput names the key.
type RotateKeyInput struct{ Actor, Key id.ID }

// Rotated is the new key, with its secret, and the moment at which the old one ends.
type Rotated struct {
	Issued
	OldEndsAt time.Time
}

// Do rotates the key. Faults: apikey.ErrNotFound, apikey.ErrForbidden, apikey.ErrRevoked.
func (uc RotateKey) Do(ctx context.Context, in RotateKeyInput) (Rotated, error) {
	now := moment(uc.Now)
	out := Rotated{OldEndsAt: now.Add(uc.Grace)}
	next := apikey.Key{ID: uc.NewID(), UserID: in.Actor, CreatedAt: now}
	plain, err := drawUntilFree(uc.Random, &next, func() (err error) {
		out.Key, err = uc.Keys.Rotate(ctx, in.Key, next, out.OldEndsAt)
		return err
	})
	forget(uc.Gateway, in.Key, err)
	if err != nil {
		return Rotated{}, fmt.Errorf("rotate a key: %w", err)
	}
	out.Plain = plain
	return out, nil
}
