// Package usage is what was called, by whom, and what it cost.
package usage

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// Event is one charged (or free) call. It is immutable; ID is the call's request id.
type Event struct {
	ID         id.ID
	UserID     id.ID // the consumer
	APIID      id.ID
	EndpointID id.ID
	KeyID      id.ID
	Amount     money.Amount
	Status     int
	Latency    time.Duration // to the upstream's response header
	OccurredAt time.Time

	// IdempotencyKey, when set, is the caller's, and IdempotencyClaim the call's own claim on it. With the event on disk the
	// key is answered; a call that has lost its claim is not recorded. The answer itself has been stored before.
	IdempotencyKey   string
	IdempotencyClaim id.ID
}

// Record is an event with the lease that pays for it (the zero lease for a free call).
type Record struct {
	Event
	LeaseID id.ID
	Epoch   int64 // of the lease, as its node knows it: a void raises it, and what was sent before is refused
}

// IdempotentAnswer is the answer to a call under an Idempotency-Key.
type IdempotentAnswer struct {
	BodyHash []byte // of the request's body; nil when the upstream did not read it all
	Status   int
	Header   map[string][]string
	Body     []byte
	Kept     bool // false: the answer was too large to keep, or did not reach its end
}

// ErrNotRecorded means a charge could not be made durable in time: the call is not charged and its answer must not be
// delivered as complete.
var ErrNotRecorded = fault.New(fault.Unavailable, "METERING_UNAVAILABLE",
	"Service Unavailable: the call could not be metered and was not charged")
