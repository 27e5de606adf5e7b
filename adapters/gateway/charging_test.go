package gateway

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// ledger is the real charging over the fake bank, with a journal that can be made to fail.
type ledger struct {
	*portstest.Bank
	charger *charging.Charger

	mu     sync.Mutex
	funded map[id.ID]bool
	stored map[id.ID]bool
	events []usage.Event // as they were stored
	before func()        // called before a batch is stored
	refuse func() bool   // whether the store refuses a record for good; nil: none
	fail   []string      // the operations that fail, see portstest.Bank
	lose   string        // the operation whose answer is lost
	trips  map[string]int
	claim  ports.IdempotencyClaim // asked for last
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	l := &ledger{Bank: portstest.NewBank(time.Now), funded: map[id.ID]bool{}, stored: map[id.ID]bool{}, trips: map[string]int{}}
	l.Bank.Fail = l.fails
	l.charger = charging.New(charging.Config{
		Network: vault.Testnet, Mode: charging.Durable, LeaseTTL: time.Minute, LeaseTarget: 2 * time.Second, LeaseIdle: time.Minute,
		LeaseMaxAge: time.Minute, MaintainEvery: time.Second, GrantTimeout: 5 * time.Second, BatchMax: 100, QueueMax: 10_000, Shards: 2,
		CommitTimeout: 10 * time.Second,
	}, l.Bank, l, time.Now, newID)
	l.charger.Start()
	return l
}

// drain gives all leases back; afterwards the bank's equations hold and nothing is held.
func (l *ledger) drain(t *testing.T) {
	t.Helper()
	if err := l.charger.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	found, err := l.Invariants(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if !i.Holds() {
			t.Errorf("%s: %s and %s, %d offenders", i.Name, i.Left, i.Right, i.Offenders)
		}
	}
	l.mu.Lock()
	consumers := slices.Collect(maps.Keys(l.funded))
	l.mu.Unlock()
	for _, c := range consumers {
		if held := l.Balance(c).Held; !held.IsZero() {
			t.Errorf("%s is held for nothing", held)
		}
	}
}

// fund gives a consumer 1000 USDC, once.
func (l *ledger) fund(consumer id.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.funded[consumer] {
		l.funded[consumer] = true
		l.Fund(consumer, money.MustParse("1000"))
	}
}

func (l *ledger) fails(op string, done bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !done {
		l.trips[op]++
	}
	if slices.Contains(l.fail, op) || done && op == l.lose {
		return errAway
	}
	return nil
}

// asked is how often the bank was asked for an operation.
func (l *ledger) asked(op string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trips[op]
}

// Claim implements ports.Idempotency.
func (l *ledger) Claim(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	l.set(func(l *ledger) { l.claim = c })
	return l.Bank.Claim(ctx, c)
}

// Append implements ports.UsageJournal.
func (l *ledger) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	l.mu.Lock()
	before, refuse := l.before, l.refuse
	l.mu.Unlock()
	if before != nil {
		before()
	}
	if refuse != nil && (len(batch) > 1 || refuse()) {
		return nil, ports.ErrRejected // the charger asks again, record by record
	}
	outcomes, err := l.Bank.Append(ctx, batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range outcomes {
		if o == ports.Recorded && !l.stored[batch[i].ID] {
			l.stored[batch[i].ID] = true
			l.events = append(l.events, batch[i].Event)
		}
	}
	return outcomes, err
}

func (l *ledger) set(change func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// refuses makes the store refuse every record, or none.
func (l *ledger) refuses(yes bool) {
	l.set(func(l *ledger) { l.refuse = func() bool { return yes } })
}

// charged returns the events on disk, in the order in which they were stored.
func (l *ledger) charged() []usage.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// outstanding is how many calls hold money.
func (l *ledger) outstanding() int { return int(l.charger.Stats().CallsInHold) }
