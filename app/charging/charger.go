package charging

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// errEnded means a hold was charged after it had already been charged or released: a fault of the caller.
var errEnded = errors.New("the hold has already ended")

// Leases is where a charger has its money from.
type Leases interface {
	ports.Leases
	ports.LeaseSuccession
}

// Charger implements ports.Charger for one gateway node.
type Charger struct {
	cfg     Config
	leases  Leases
	journal ports.UsageJournal
	now     ports.Clock
	newID   ports.NewID
	node    id.ID // of this run of this process: a restarted node never touches its former leases

	accounts        sync.Map // id.ID of the consumer -> *account
	shards          []*shard
	callers         sync.Pool
	queued          atomic.Int64
	closed          atomic.Bool
	background      sync.WaitGroup
	stopMaintenance chan struct{}
	recalls         recalls

	born time.Time       // the start of the charger's own, monotonic time
	life context.Context // ends with the time that Drain is given, and with it whatever asks the database
	cut  context.CancelFunc
}

// drainGrace is how long Drain waits, when its time is over, for those whose context has just ended.
const drainGrace = 500 * time.Millisecond

// New returns a charger that is not yet running, see Start.
func New(cfg Config, leases Leases, journal ports.UsageJournal, now ports.Clock, newID ports.NewID) *Charger {
	t := &Charger{
		cfg: cfg, leases: leases, journal: journal, now: now, newID: newID, node: newID(), born: now(), stopMaintenance: make(chan struct{}),
	}
	t.recalls.some = make(chan struct{}, 1)
	t.life, t.cut = context.WithCancel(context.Background())
	t.callers.New = func() any { return newCaller() }
	for range cfg.Shards {
		t.shards = append(t.shards, newShard(t))
	}
	return t
}

// Start begins to write charges and to maintain leases. Drain ends it.
func (t *Charger) Start() {
	for _, s := range t.shards {
		t.background.Go(s.run)
	}
	t.background.Go(t.maintainLoop)
}

// Reserve implements ports.Charger.
func (t *Charger) Reserve(ctx context.Context, consumer id.ID, price money.Amount) (ports.Hold, error) {
	if price.IsNegative() {
		return nil, fault.New(fault.Internal, "INTERNAL_SERVER_ERROR", "a price below zero")
	}
	now := t.now()
	if t.closed.Load() || t.failing(now) || t.queued.Load() >= int64(t.cfg.QueueMax) {
		return nil, usage.ErrNotRecorded
	}
	for {
		h := &hold{account: t.account(consumer), price: price.Stroops()}
		if h.price == 0 {
			h.account.shard.open.Add(1)
			return h, nil // a free call needs no money, only its record
		}
		l, err := h.account.reserve(ctx, h.price, now)
		if errors.Is(err, errDead) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h.lease = l
		h.account.shard.open.Add(1)
		return h, nil
	}
}

// behind reports whether so much waits for the database that async calls wait for their charge as durable ones do: calls come no
// faster than they are stored then, instead of running into the refusal at QueueMax, and less is lost by a node that dies.
func (t *Charger) behind() bool { return t.queued.Load() >= int64(t.cfg.QueueMax+1)/2 }

func (t *Charger) account(consumer id.ID) *account {
	if a, ok := t.accounts.Load(consumer); ok {
		return a.(*account)
	}
	s := t.shards[int(consumer[15])%len(t.shards)]
	a, _ := t.accounts.LoadOrStore(consumer, &account{charger: t, consumer: consumer, shard: s, leases: map[id.ID]*lease{}})
	return a.(*account)
}

// Failing reports whether charges cannot be stored at present; calls are refused meanwhile.
func (t *Charger) Failing() bool { return t.failing(t.now()) }

func (t *Charger) failing(now time.Time) bool {
	for _, s := range t.shards {
		if s.failed.Load() || s.overdue(now) {
			return true
		}
	}
	return false
}

// Stats returns the charger's state at this moment.
func (t *Charger) Stats() Stats {
	r := &t.recalls
	s := Stats{
		Queued: t.queued.Load(), Failing: t.Failing(), RecallsSent: r.sent.Load(), RecallsHeard: r.heard.Load(), RecalledStroops: r.stroops.Load(),
		WaitsServed: r.served.Load(), WaitsRefused: r.refused.Load(),
	}
	t.accounts.Range(func(_, v any) bool {
		a := v.(*account)
		a.mu.Lock()
		s.Accounts++
		s.OpenLeases += len(a.leases)
		s.CallsInHold += a.open
		s.HeldStroops += a.reserved
		a.mu.Unlock()
		return true
	})
	return s
}

// Drain refuses new calls, stores every charge that waits, and gives all leases back. When ctx ends first, it gives up,
// and what could not be stored is reported as an incident. No call may be in flight.
func (t *Charger) Drain(ctx context.Context) error {
	if t.closed.Swap(true) {
		return nil
	}
	defer context.AfterFunc(ctx, t.cut)()
	close(t.stopMaintenance)
	for _, s := range t.shards {
		s.drain(ctx)
	}
	done := make(chan error, 1)
	go func() {
		t.background.Wait()
		done <- t.giveAllBack(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // who watches ctx ends now, and says itself what is left
	case err := <-done:
		return err
	case <-time.After(drainGrace):
	}
	for _, s := range t.shards {
		s.reportLeft()
	}
	return fmt.Errorf("the database does not answer, and charging could not be stopped in time: %w", ctx.Err())
}
