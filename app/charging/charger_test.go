package charging

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

func usdc(s string) money.Amount { return money.MustParse(s) }

// house is one or more nodes on one bank.
type house struct {
	t    *testing.T
	bank *portstest.Bank

	mu        sync.Mutex
	incidents []Incident
}

func newHouse(t *testing.T) *house { return &house{t: t, bank: portstest.NewBank(time.Now)} }

func (h *house) config() Config {
	return Config{
		Network: vault.Testnet, Mode: Durable, LeaseTTL: 30 * time.Second, LeaseTarget: 2 * time.Second, LeaseIdle: 3 * time.Second,
		LeaseMaxAge: 30 * time.Second, MaintainEvery: 500 * time.Millisecond, GrantTimeout: 5 * time.Second, BatchMax: 100,
		AsyncFlush: 20 * time.Millisecond, QueueMax: 1000, Shards: 2, CommitTimeout: 10 * time.Second, RecallWait: 500 * time.Millisecond,
		Incident: func(i Incident) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.incidents = append(h.incidents, i)
		},
	}
}

func (h *house) node(change func(*Config)) *Charger {
	cfg := h.config()
	if change != nil {
		change(&cfg)
	}
	charger := New(cfg, h.bank, h.bank, time.Now, newID)
	charger.Start()
	return charger
}

func (h *house) reported() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.incidents)
}

func (h *house) wantSound() {
	h.t.Helper()
	found, err := h.bank.Invariants(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, i := range found {
		if !i.Holds() {
			h.t.Errorf("%s: %s and %s, %d offenders", i.Name, i.Left, i.Right, i.Offenders)
		}
	}
}

// wantSpent checks that, with no call in flight and all leases back, exactly amount is gone.
func (h *house) wantSpent(consumer id.ID, amount money.Amount) {
	h.t.Helper()
	b := h.bank.Balance(consumer)
	if b.Uncollected != amount || !b.Held.IsZero() {
		h.t.Errorf("spent %s with %s held, want %s and nothing", b.Uncollected, b.Held, amount)
	}
	h.wantSound()
}

func drain(t *testing.T, tills ...*Charger) {
	t.Helper()
	for _, charger := range tills {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if err := charger.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		cancel()
	}
}

func event(consumer id.ID) usage.Event {
	return usage.Event{ID: newID(), UserID: consumer, APIID: newID(), EndpointID: newID(), KeyID: newID(), Status: 200, OccurredAt: time.Now()}
}

// call makes one call of a price and charges it.
func call(charger *Charger, consumer id.ID, price money.Amount) error {
	h, err := charger.Reserve(context.Background(), consumer, price)
	if err != nil {
		return err
	}
	defer h.Release()
	return h.Charge(context.Background(), event(consumer))
}

func TestParallelCallsNeverOverspend(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string]int{"one node": 1, "three nodes": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("10"))
				var tills []*Charger
				for range nodes {
					tills = append(tills, h.node(nil))
				}
				var served, short atomic.Int64
				var wg sync.WaitGroup
				for i := range 40 {
					wg.Go(func() {
						switch err := call(tills[i%nodes], consumer, usdc("1")); {
						case err == nil:
							served.Add(1)
						case errors.Is(err, vault.ErrShort):
							short.Add(1)
						default:
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if served.Load() != 10 || short.Load() != 30 {
					t.Errorf("%d served, %d short; want 10 and 30", served.Load(), short.Load())
				}
				drain(t, tills...)
				h.wantSpent(consumer, usdc("10"))
			})
		})
	}
}

func TestACallInSteadyStateAsksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		charger := h.node(nil)
		if err := call(charger, consumer, usdc("0.01")); err != nil {
			t.Fatal(err)
		}
		before := h.bank.Trips()
		for range 20 {
			hold, err := charger.Reserve(t.Context(), consumer, usdc("0.01"))
			if err != nil {
				t.Fatal(err)
			}
			hold.Release()
		}
		if trips := h.bank.Trips() - before; trips != 0 {
			t.Errorf("admitting 20 calls took %d trips to the database", trips)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("0.01"))
	})
}

func TestReleaseGivesTheMoneyBackOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		charger := h.node(nil)
		for range 5 { // money for one call serves any number that are released
			hold, err := charger.Reserve(t.Context(), consumer, usdc("1"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := charger.Reserve(t.Context(), consumer, usdc("1")); !errors.Is(err, vault.ErrShort) {
				t.Fatalf("a second call on money for one: %v", err)
			}
			hold.Release()
			hold.Release()
			if err := hold.Charge(t.Context(), event(consumer)); !errors.Is(err, errEnded) {
				t.Errorf("a released hold was charged: %v", err)
			}
		}
		if s := charger.Stats(); s.CallsInHold != 0 || s.HeldStroops != 0 {
			t.Errorf("stats %+v", s)
		}
		drain(t, charger)
		h.wantSpent(consumer, money.Amount{})
	})
}

func TestALeaseSmallerThanThePriceIsJoinedWithTheRestOfTheVault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		charger := h.node(nil)
		hold, err := charger.Reserve(t.Context(), consumer, usdc("0.6"))
		if err != nil {
			t.Fatal(err)
		}
		hold.Release() // leaves 0.6 in the lease and 0.4 in the vault
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Errorf("a call for all of the money: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestIdleMoneyGoesBackForOtherNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(nil), h.node(nil)
		stream, err := a.Reserve(t.Context(), consumer, usdc("0.2")) // a long call keeps its part
		if err != nil {
			t.Fatal(err)
		}
		hold, err := a.Reserve(t.Context(), consumer, usdc("0.8"))
		if err != nil {
			t.Fatal(err)
		}
		hold.Release()
		if err := call(b, consumer, usdc("0.8")); !errors.Is(err, vault.ErrShort) {
			t.Fatalf("money on node a was spent on node b: %v", err)
		}
		time.Sleep(5 * time.Second)
		if err := call(b, consumer, usdc("0.8")); err != nil {
			t.Errorf("idle money did not come back: %v", err)
		}
		time.Sleep(2 * time.Minute) // the stream outlives many lease times; the expiry pass runs meanwhile
		if n, err := h.bank.ExpireLeases(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("%d leases with a call in flight expired, %v", n, err)
		}
		if err := stream.Charge(t.Context(), event(consumer)); err != nil {
			t.Errorf("the stream was not charged: %v", err)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestAnExpiredLeaseIsFenced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		charger := h.node(func(c *Config) { c.MaintainEvery = time.Hour }) // a node cut off from renewing
		hold, err := charger.Reserve(t.Context(), consumer, usdc("1"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		if n, err := h.bank.ExpireLeases(t.Context(), 10); n != 1 || err != nil {
			t.Fatalf("expired %d, %v", n, err)
		}
		other := h.node(nil)
		if err := call(other, consumer, usdc("1")); err != nil { // the money serves somebody else now
			t.Fatal(err)
		}
		if err := hold.Charge(t.Context(), event(consumer)); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("a charge on an expired lease: %v", err)
		}
		drain(t, charger, other)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestANodeStopsDrawingWellBeforeItsLeaseEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		charger := h.node(func(c *Config) { c.MaintainEvery = time.Hour })
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		h.bank.Fail = func(op string, _ bool) error {
			if op == "grant" {
				return errors.New("away")
			}
			return nil
		}
		time.Sleep(14 * time.Second)
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Errorf("before half of the lease's time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("after half of the lease's time: %v", err)
		}
		h.bank.Fail = nil
		drain(t, charger)
	})
}

func TestACallerWhoLeavesWhileWaitingHoldsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		h.bank.Fail = func(op string, done bool) error {
			if op == "grant" && !done {
				time.Sleep(time.Second) // a slow database, in virtual time
			}
			return nil
		}
		charger := h.node(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := charger.Reserve(ctx, consumer, usdc("1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("reserve: %v", err)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if s := charger.Stats(); s.CallsInHold != 0 || s.HeldStroops != 0 {
			t.Errorf("stats %+v", s)
		}
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Errorf("the money is gone: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestAFreeCallIsRecordedWithoutMoney(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		charger := h.node(nil)
		consumer := newID()
		if err := call(charger, consumer, money.Amount{}); err != nil {
			t.Fatal(err)
		}
		if _, err := charger.Reserve(t.Context(), consumer, money.FromStroops(-1)); err == nil {
			t.Error("a negative price was admitted")
		}
		drain(t, charger)
		if n := len(h.bank.Events()); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestAfterDrainNothingIsAdmittedOrCharged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("2"))
		charger := h.node(nil)
		late, err := charger.Reserve(t.Context(), consumer, usdc("1"))
		if err != nil {
			t.Fatal(err)
		}
		drain(t, charger, charger)
		if err := late.Charge(t.Context(), event(consumer)); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("a charge after the drain: %v", err)
		}
		if _, err := charger.Reserve(t.Context(), consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("a call after the drain: %v", err)
		}
	})
}

var _ ports.Charger = (*Charger)(nil)
