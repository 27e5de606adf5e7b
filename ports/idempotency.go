package ports

import (
	"context"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// Idempotency remembers calls that carry an Idempotency-Key, per consumer. A key has one usage event for ever, and one live
// call at a time: that call's claim is a short lease, extended while the call lives.
type Idempotency interface {
	// Claim takes the key for a call, or tells what became of the call that has it.
	Claim(ctx context.Context, c IdempotencyClaim) (IdempotencyState, error)
	// Keep notes that the call under the claim is served, with its answer: before the call is charged, or at the end of a
	// repeat, which it ends. Nobody is told the answer before the charge. False: the claim is no longer the call's, nothing is
	// kept, and the call must not be charged.
	Keep(ctx context.Context, k ClaimedKey, a usage.IdempotentAnswer) (bool, error)
	// Extend makes claims last for lease from the store's now, and their keys' retention too, in one statement. It returns
	// those that were extended; the others are no longer their calls'.
	Extend(ctx context.Context, keys []ClaimedKey, lease, retention time.Duration) ([]ClaimedKey, error)
	// Release gives a claim up: the call was not served, another may run at once. A key that is charged stays, and so does
	// one that another call has claimed meanwhile. Releasing twice changes nothing.
	Release(ctx context.Context, k ClaimedKey) error
}

// IdempotencyClaim asks for an Idempotency-Key.
type IdempotencyClaim struct {
	Consumer    id.ID
	Key         string
	Fingerprint []byte        // of API, method, path and query
	Event       id.ID         // the id the call's usage event would have; it names the claim too
	Lease       time.Duration // after this long without being extended the call counts as dead
	Retention   time.Duration // how long an answer is kept
}

// Claimed is the key as the claim holds it, if the claim is granted.
func (c IdempotencyClaim) Claimed() ClaimedKey { return ClaimedKey{c.Consumer, c.Key, c.Event} }

// ClaimedKey is an Idempotency-Key in the hands of one call.
type ClaimedKey struct {
	Consumer id.ID
	Key      string
	Claim    id.ID // of that call alone
}

// IdempotencyState is the state of an Idempotency-Key after a claim.
type IdempotencyState struct {
	Outcome IdempotencyOutcome
	// Event is the id of the key's usage event: the first claimant's, so that one key can never be charged twice.
	Event id.ID
	// Answer is set with IdempotencyAnswered and IdempotencyRepeat. The latter's is not kept: it has no header and no body.
	Answer *usage.IdempotentAnswer
}

// FreeRepeat is how long after its charge a call whose answer was not kept may be repeated, once, without a charge.
const FreeRepeat = time.Minute

// IdempotencyOutcome is what a claim found.
type IdempotencyOutcome int

// The outcomes of a claim.
const (
	IdempotencyClaimed  IdempotencyOutcome = iota // the call runs
	IdempotencyRunning                            // another call with the key is under way
	IdempotencyAnswered                           // the call was charged; Answer is what it got
	IdempotencyRepeat                             // the call was charged and its answer is not kept; this is its free repeat
	IdempotencyConflict                           // the key was used for another request
	IdempotencySpent                              // charged, the answer is not kept, and the free repeat is used up or too late
)
