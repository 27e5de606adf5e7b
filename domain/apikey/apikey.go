// Package apikey is the secret with which a consumer calls one API through the gateway.
package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

const (
	// Mark is how every key begins; it lets secret scanners and our own log redaction know one.
	Mark = "ck_live_"
	// PrefixLength is the length of the public part, by which a key is found and shown.
	PrefixLength = 16
	// MaxScopes bounds the scopes of one key.
	MaxScopes   = 20
	secretBytes = 24 // 192 bits
	plainLength = len(Mark) + 2*secretBytes
)

// Faults of keys.
var (
	ErrNotFound  = fault.New(fault.NotFound, "API_KEY_NOT_FOUND", "API key not found")
	ErrForbidden = fault.New(fault.Forbidden, "API_KEY_FORBIDDEN", "Forbidden: this API key belongs to another user")
	ErrRevoked   = fault.New(fault.Conflict, "API_KEY_REVOKED", "API key has already been revoked or replaced")
	// ErrPrefixTaken asks the issuer to draw again: another key has the same public part.
	ErrPrefixTaken = fault.New(fault.Conflict, "API_KEY_PREFIX_TAKEN", "API key prefix is taken")
)

// Key is what is kept of a key: everything but the secret itself.
type Key struct {
	ID                 id.ID
	UserID             id.ID // the consumer who owns it and pays for its calls
	APIID              id.ID // the one API it opens
	Prefix             string
	Hash               [sha256.Size]byte
	Scopes             []string
	RateLimitPerMinute int // 0: the gateway's own limit
	CreatedAt          time.Time
	ExpiresAt          time.Time // zero: never; set when the key is rotated, to the end of its grace
	RevokedAt          time.Time // zero: not revoked
	LastUsedAt         time.Time // zero: never; to the minute or so
	ReplacedBy         id.ID     // the key that a rotation made
	VaultStopped       string    // why its owner's vault must not pay at present; empty: it may. Read by look-ups alone, never stored
}

// Generate draws a new secret from random and returns the plain key with its public prefix and its hash.
func Generate(random io.Reader) (plain, prefix string, hash [sha256.Size]byte, err error) {
	var secret [secretBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return "", "", hash, fmt.Errorf("draw a key: %w", err)
	}
	plain = Mark + hex.EncodeToString(secret[:])
	return plain, plain[:PrefixLength], HashOf(plain), nil
}

// HashOf is the SHA-256 of the whole key: with 192 random bits a slow hash would add nothing but load.
func HashOf(plain string) [sha256.Size]byte { return sha256.Sum256([]byte(plain)) }

// PrefixOf returns the public part of a plain key, and whether the text has the shape of a key at all.
func PrefixOf(plain string) (string, bool) {
	if len(plain) != plainLength || !strings.HasPrefix(plain, Mark) {
		return "", false
	}
	return plain[:PrefixLength], true
}

// Matches compares the hash of a plain key with the stored one in constant time.
func (k *Key) Matches(plain string) bool {
	h := HashOf(plain)
	return subtle.ConstantTimeCompare(h[:], k.Hash[:]) == 1
}

// Ended reports whether the key was revoked or its grace after a rotation is over.
func (k *Key) Ended(now time.Time) bool {
	return !k.RevokedAt.IsZero() || (!k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt))
}

// Masked is how a key is shown after its first day: the prefix and sixteen stars.
func (k *Key) Masked() string { return k.Prefix + strings.Repeat("*", 16) }
