package ports

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// Charger admits paid calls against prepaid money.
type Charger interface {
	// Reserve sets the price of one call aside from the consumer's vault. It waits a moment for money that is idle on other
	// nodes. Faults: vault.ErrShort, vault.ErrHeld when calls of other nodes seem to need that money, or an Unavailable one
	// when charges cannot be recorded at present. The caller must end the hold with Charge or Release.
	Reserve(ctx context.Context, consumer id.ID, price money.Amount) (Hold, error)
}

// Hold is the money set aside for one call in flight. Exactly one of Charge and Release takes effect, the first;
// Release after it does nothing, so that it can be deferred.
type Hold interface {
	// Charge records the call for the reserved price. In durable mode it returns when the event and its money are on
	// disk; on an error (usage.ErrNotRecorded) the call is not charged and the money is free again.
	// It does not stop waiting when ctx ends: a caller who hangs up has still been served.
	Charge(ctx context.Context, e usage.Event) error
	// Release gives the reserved money back.
	Release()
}

// Leases sets vault money aside for a node.
type Leases interface {
	// Grant opens a lease for node on the consumer's vault on a network: as much as want where the vault is rich, down
	// to exactly need where it is nearly empty, and down to atLeast where need is no longer there. Fault:
	// vault.ErrShort when not even atLeast is free or there is no vault; vault.ErrHeld when it would be with what open leases
	// of other nodes have not used, and the vault is not stopped. Then the nodes are told (Recalled), unless they were in the last
	// vault.RecallEvery; an error that wraps ErrRecalled says that it was this grant that told them.
	// One transaction. When its outcome is unknown it is asked again with the same ID and Again: then it waits for the first
	// attempt, renews what that has granted, however much, and is a new grant when it has granted nothing. ErrLeaseEnded: that
	// lease has been closed since.
	Grant(ctx context.Context, g LeaseGrant) (vault.Lease, error)
	// Renew extends the node's leases that are still open, by ttl from the database's now, and returns which were.
	Renew(ctx context.Context, node id.ID, leases []id.ID, ttl time.Duration) ([]id.ID, error)
	// Return shrinks the node's open leases to what it still needs of them; the rest is free again. A lease of which nothing
	// is needed but what it used is closed. Leases only ever shrink, so that asking again is safe.
	Return(ctx context.Context, node id.ID, parts []LeasePart) error
	// Close ends leases of the node: the unused rest is free again, the used part becomes uncollected. Closing twice
	// changes nothing.
	Close(ctx context.Context, node id.ID, leases []id.ID) error
}

// LeaseSuccession lets leases end although calls that draw on them go on, e.g. streams.
type LeaseSuccession interface {
	// Replace closes open leases of the node and opens a successor for each with Need of what they did not use, or all of it
	// where that is less; the rest is free again. It needs no free money of the vault. It returns those successors that
	// are open, renewed by ttl: one that is missing had nothing to open with, or its lease, or itself, had ended before.
	// One transaction for all; asking again with the same successors is safe and says the same.
	Replace(ctx context.Context, node id.ID, leases []LeaseReplacement, ttl time.Duration) ([]vault.Lease, error)
}

// LeaseReplacement names a lease and its successor.
type LeaseReplacement struct {
	Lease     id.ID
	Successor id.ID
	Need      money.Amount // what calls in flight have reserved
}

// ErrLeaseEnded means that a lease which was asked for again has been closed.
var ErrLeaseEnded = errors.New("the lease has ended")

// ErrRecalled is the cause of a vault.ErrHeld that comes with a message to all nodes. It is a vault.ErrShort.
var ErrRecalled = fmt.Errorf("idle money is recalled: %w", vault.ErrShort)

// LeaseGrant is the request for a lease.
type LeaseGrant struct {
	ID       id.ID
	Node     id.ID
	Consumer id.ID
	Network  vault.Network
	AtLeast  money.Amount
	Need     money.Amount
	Want     money.Amount
	TTL      time.Duration
	Again    bool // an earlier attempt with this ID has an unknown outcome

	// GiveBack is what the node still needs of its earlier leases on the vault: the rest is free again before the new lease
	// is sized, also when the grant itself is then refused. See Leases.Return.
	GiveBack []LeasePart
}

// LeasePart is what a node still needs of a lease: what calls have used and what calls in flight have reserved, as far as
// the node knows. Less than the lease has used means that it knows too little, and changes nothing.
type LeasePart struct {
	Lease id.ID
	Keep  money.Amount
}

// UsageJournal makes calls durable.
type UsageJournal interface {
	// Append stores a batch of one or more records in one statement: each record that is new, and whose lease is still
	// open in the record's epoch, becomes a usage event and adds to its lease's used amount; the others change nothing. A
	// record with an Idempotency-Key is stored only while its claim runs, and answers it. Append returns an outcome per record, in order; the same
	// batch again is safe and says the same. Two concurrent calls with records of one vault are safe, but wait for each
	// other. Errors that wrap ErrRejected are final; any other may have happened before or after the commit, or the
	// commit may still be under way.
	Append(ctx context.Context, batch []usage.Record) ([]RecordOutcome, error)
	// Void makes sure that records which were perhaps appended, and were never answered for, are not charged: neither by
	// what is on disk, nor by an Append that is under way, nor by one that has not begun. Their leases go on in the next
	// epoch, one above the greatest that the batch has for each, and have their money back; the claims of their
	// Idempotency-Keys are gone. A record whose lease was closed is voided too, until it has been booked as revenue: then it
	// stays and is reported. Voiding again changes nothing. A record that was sent with several leases is given once
	// for each. A free call has no lease, so that an Append of it that is under way may still land; it costs nothing.
	Void(ctx context.Context, batch []usage.Record) (kept []id.ID, err error)
}

// ErrRejected means the store refuses a batch for good: sending it again cannot help. Nothing of it was recorded.
var ErrRejected = errors.New("usage batch rejected")

// RecordOutcome says what became of one record.
type RecordOutcome int

// The outcomes.
const (
	Recorded  RecordOutcome = iota // the event is on disk and its lease has paid
	Duplicate                      // the event was already paid by another lease
	Fenced                         // the lease is closed, or in a later epoch; nothing was recorded
	ClaimLost                      // another call has the Idempotency-Key, or nobody; nothing was recorded
)

// LeaseExpiry is the pass that frees what dead nodes held.
type LeaseExpiry interface {
	// ExpireLeases closes at most limit leases whose time is over and returns how many it closed.
	ExpireLeases(ctx context.Context, limit int) (int, error)
}

// RevenueIndex is the pass that turns usage into developers' revenue.
type RevenueIndex interface {
	// IndexRevenue books what at most limit closed leases have earned, of each the whole or nothing, and returns how many calls
	// that were; 0 means that no lease is left. A lease whose events do not come to what it used is not booked, and an error
	// names it when the others are. Safe to repeat and to run on several nodes at once.
	IndexRevenue(ctx context.Context, limit int) (int, error)
}
