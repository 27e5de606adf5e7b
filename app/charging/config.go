package charging

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// Mode says when a charge is answered for.
type Mode string

// The modes.
const (
	// Durable answers when the event is on disk.
	Durable Mode = "durable"
	// Async answers at once; a node that dies loses the charges that wait for the database, in the buyers' favour. From half of
	// QueueMax on it answers as Durable does.
	Async Mode = "async"
)

// Config sets the sizes and times of a charger. All are required.
type Config struct {
	Network vault.Network
	Mode    Mode

	LeaseTTL      time.Duration // how long the database keeps a lease that its node does not renew
	LeaseTarget   time.Duration // a lease is sized for this much of the account's recent spending
	LeaseIdle     time.Duration // a lease nobody draws on for this long is given back
	LeaseMaxAge   time.Duration // a lease is replaced after this long, so that its revenue gets indexed
	MaintainEvery time.Duration // how often leases are renewed, given back and closed
	GrantTimeout  time.Duration
	RecallWait    time.Duration // how long a call waits for idle money of other nodes, when a vault is short without it
	BatchMax      int           // records of one statement
	DurableWait   time.Duration // how long a batch waits at most for calls in flight, in durable mode
	AsyncFlush    time.Duration // how long a batch gathers in async mode
	QueueMax      int           // records waiting on this node, beyond which calls are refused
	Shards        int           // writers; a vault always belongs to the same one
	CommitTimeout time.Duration // how long a call waits for its charge before it is given up

	// Incident is told of what an operator must know, e.g. charges kept although their callers were told otherwise.
	Incident func(Incident)
	// ObserveBatch is told of every batch that was tried: its size, how long it took, and whether it was stored.
	ObserveBatch func(records int, took time.Duration, err error)
	// GaveBack is told of what this node had idle of vaults and gave back, because others were short of it.
	GaveBack func(vaults int, amount money.Amount)
}

// Incident is something that needs a look: a sentence, its cause, and the usage events it concerns.
type Incident struct {
	Message string
	Cause   error
	Events  []id.ID
}

// Stats is the state of a charger at a moment, for metrics.
type Stats struct {
	Accounts    int
	OpenLeases  int
	CallsInHold int64 // calls that hold money and are not finished
	HeldStroops int64 // reserved by them
	Queued      int64 // records that wait for a writer
	Failing     bool  // charges cannot be stored at present

	// Since the start:
	RecallsSent     int64 // by grants of this node
	RecallsHeard    int64 // of any node, this one included
	RecalledStroops int64 // idle here and given back
	WaitsServed     int64 // calls that waited for other nodes' money and got it
	WaitsRefused    int64
}
