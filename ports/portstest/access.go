package portstest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Keys is the key store in memory. It is ports.Keys and ports.KeyLookup. Fail, when set, is what every operation says.
type Keys struct {
	Fail error

	mu      sync.Mutex
	keys    map[id.ID]apikey.Key
	stopped map[id.ID]string // vaults, by their owners
}

// NewKeys returns an empty store.
func NewKeys() *Keys { return &Keys{keys: map[id.ID]apikey.Key{}, stopped: map[id.ID]string{}} }

// StopVault stops the vault of a user; without words it pays again.
func (s *Keys) StopVault(owner id.ID, because string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped[owner] = because
}

// KeyByPrefix implements ports.KeyLookup.
func (s *Keys) KeyByPrefix(_ context.Context, prefix string) (apikey.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Prefix == prefix && s.Fail == nil {
			k.VaultStopped = s.stopped[k.UserID]
			return k, nil
		}
	}
	return apikey.Key{}, orElse(s.Fail, apikey.ErrNotFound)
}

// Issue implements ports.Keys.
func (s *Keys) Issue(_ context.Context, k apikey.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(k)
}

func (s *Keys) add(k apikey.Key) error {
	if s.Fail != nil {
		return s.Fail
	}
	for _, other := range s.keys {
		if other.Prefix == k.Prefix || other.Hash == k.Hash {
			return apikey.ErrPrefixTaken
		}
	}
	s.keys[k.ID] = k
	return nil
}

// Rotate implements ports.Keys.
func (s *Keys) Rotate(_ context.Context, old id.ID, next apikey.Key, graceEnd time.Time) (apikey.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, err := s.own(next.UserID, old)
	if err != nil {
		return apikey.Key{}, err
	}
	if was.Ended(next.CreatedAt) || !was.ReplacedBy.IsZero() {
		return apikey.Key{}, apikey.ErrRevoked
	}
	next.APIID, next.Scopes, next.RateLimitPerMinute = was.APIID, was.Scopes, was.RateLimitPerMinute
	if err := s.add(next); err != nil {
		return apikey.Key{}, err
	}
	was.ReplacedBy = next.ID
	if was.ExpiresAt.IsZero() || graceEnd.Before(was.ExpiresAt) {
		was.ExpiresAt = graceEnd
	}
	s.keys[old] = was
	return next, nil
}

// Revoke implements ports.Keys.
func (s *Keys) Revoke(_ context.Context, owner, key id.ID, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.own(owner, key)
	if err == nil && k.RevokedAt.IsZero() {
		k.RevokedAt = at
		s.keys[key] = k
	}
	return err
}

func (s *Keys) own(owner, key id.ID) (apikey.Key, error) {
	k, found := s.keys[key]
	switch {
	case s.Fail != nil:
		return apikey.Key{}, s.Fail
	case !found:
		return apikey.Key{}, apikey.ErrNotFound
	case k.UserID != owner:
		return apikey.Key{}, apikey.ErrForbidden
	}
	return k, nil
}

// OfOwner implements ports.Keys.
func (s *Keys) OfOwner(_ context.Context, owner id.ID, limit, offset int) ([]apikey.Key, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []apikey.Key
	for _, k := range s.keys {
		if k.UserID == owner {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b apikey.Key) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return page(all, limit, offset), len(all), s.Fail
}

func page[T any](all []T, limit, offset int) []T {
	from := min(offset, len(all))
	return all[from:min(from+limit, len(all))]
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
