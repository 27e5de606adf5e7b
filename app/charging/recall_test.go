package charging

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

func recallOf(consumer id.ID) []ports.Change {
	return []ports.Change{{Kind: ports.Recalled, Subject: consumer.String()}}
}

// connect lets nodes hear of recalls, as by a change feed.
func (h *house) connect(tills ...*Charger) {
	h.bank.Recalled = func(consumer id.ID) {
		time.AfterFunc(3*time.Millisecond, func() { // until a notification arrives
			for _, t := range tills {
				t.Heed(recallOf(consumer))
			}
		})
	}
}

func patient(c *Config) { c.LeaseIdle, c.LeaseMaxAge, c.LeaseTTL = time.Hour, time.Hour, 4*time.Hour }

// idle makes the node hold amount of the consumer's money with no call in flight.
func idle(t *testing.T, charger *Charger, consumer id.ID, amount money.Amount) {
	t.Helper()
	hold, err := charger.Reserve(t.Context(), consumer, amount)
	if err != nil {
		t.Fatal(err)
	}
	hold.Release()
}

// timed makes a call and returns how long its reservation took.
func timed(charger *Charger, consumer id.ID, price money.Amount) (time.Duration, error) {
	begun := time.Now()
	hold, err := charger.Reserve(context.Background(), consumer, price)
	took := time.Since(begun)
	if err != nil {
		return took, err
	}
	defer hold.Release()
	return took, hold.Charge(context.Background(), event(consumer))
}

func TestMoneyIdleOnOneNodeServesACallOnAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		var back atomic.Int64
		a, b := h.node(func(c *Config) {
			patient(c)
			c.GaveBack = func(_ int, amount money.Amount) { back.Add(amount.Stroops()) }
		}), h.node(patient)
		h.connect(a, b)
		idle(t, a, consumer, usdc("1"))
		if err := call(a, consumer, usdc("0.2")); err != nil {
			t.Fatal(err)
		}
		if took, err := timed(b, consumer, usdc("0.8")); err != nil || took > 50*time.Millisecond {
			t.Errorf("the call on the other node: %v after %v", err, took)
		}
		synctest.Wait()
		sa, sb := a.Stats(), b.Stats()
		if sa.RecallsHeard != 1 || sa.RecalledStroops != usdc("0.8").Stroops() || back.Load() != sa.RecalledStroops || sa.RecallsSent != 0 {
			t.Errorf("who had it: %+v, %d given back", sa, back.Load())
		}
		if sb.RecallsSent != 1 || sb.RecallsHeard != 1 || sb.WaitsServed != 1 || sb.WaitsRefused != 0 {
			t.Errorf("who was short: %+v", sb)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestAnEmptyVaultIsRefusedAtOnceAndRecallsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(patient)
		h.connect(a, b)
		if err := call(a, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			for _, node := range []*Charger{a, b} {
				if took, err := timed(node, consumer, usdc("1")); !errors.Is(err, vault.ErrShort) || errors.Is(err, vault.ErrHeld) || took != 0 {
					t.Fatalf("%v after %v", err, took)
				}
			}
		}
		if n := len(h.bank.Recalls()); n != 0 {
			t.Errorf("%d messages", n)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestWhatCallsInFlightHoldIsNotGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(patient)
		h.connect(a, b)
		idle(t, a, consumer, usdc("1")) // one lease for the whole
		long, err := a.Reserve(t.Context(), consumer, usdc("0.6"))
		if err != nil {
			t.Fatal(err)
		}
		if took, err := timed(b, consumer, usdc("0.5")); !errors.Is(err, vault.ErrHeld) || took < 500*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("more than is idle: %v after %v", err, took)
		}
		if err := call(b, consumer, usdc("0.4")); err != nil {
			t.Errorf("what is idle: %v", err)
		}
		if took, err := timed(b, consumer, usdc("0.1")); !errors.Is(err, vault.ErrHeld) || took > 600*time.Millisecond {
			t.Errorf("what the call in flight holds: %v after %v", err, took)
		}
		if err := long.Charge(t.Context(), event(consumer)); err != nil {
			t.Errorf("the call in flight was not charged: %v", err)
		}
		if took, err := timed(b, consumer, usdc("0.1")); !errors.Is(err, vault.ErrShort) || errors.Is(err, vault.ErrHeld) || took != 0 {
			t.Errorf("when all is spent: %v after %v", err, took)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestWhatACallInFlightLeavesComesBackThoughTheRecallIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(patient)
		h.connect(a, b)
		hold, err := a.Reserve(t.Context(), consumer, usdc("1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := timed(b, consumer, usdc("1")); !errors.Is(err, vault.ErrHeld) {
			t.Errorf("beside a call in flight: %v", err)
		}
		hold.Release()
		time.Sleep(a.cfg.MaintainEvery)
		if took, err := timed(b, consumer, usdc("1")); err != nil || took != 0 {
			t.Errorf("%v after %v", err, took)
		}
		if n := len(h.bank.Recalls()); n != 1 {
			t.Errorf("%d messages", n)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

// A dead node and one whose notifications are lost look alike: nobody answers in time.
func TestACallWaitsForAnotherNodesMoneyABoundedTime(t *testing.T) {
	t.Parallel()
	for name, dies := range map[string]bool{"the node is dead": true, "the message comes late": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1"))
				a, b := h.node(nil), h.node(patient)
				h.connect(b)
				idle(t, a, consumer, usdc("1"))
				if took, err := timed(b, consumer, usdc("1")); !errors.Is(err, vault.ErrHeld) || took < 500*time.Millisecond || took > 600*time.Millisecond {
					t.Errorf("%v after %v", err, took)
				}
				if s := b.Stats(); s.WaitsRefused != 1 || s.WaitsServed != 0 {
					t.Errorf("stats %+v", s)
				}
				if dies {
					h.bank.AgeLeases()
					if n, err := h.bank.ExpireLeases(t.Context(), 10); n != 1 || err != nil {
						t.Fatalf("%d expired, %v", n, err)
					}
				} else {
					a.Heed(recallOf(consumer))
					synctest.Wait()
				}
				if took, err := timed(b, consumer, usdc("1")); err != nil || took != 0 {
					t.Errorf("then: %v after %v", err, took)
				}
				drain(t, a, b)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}

func TestWhoeverAsksAndHoweverOftenMessagesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b, c := h.node(patient), h.node(patient), h.node(patient)
		h.connect(a, b, c)
		hold, err := a.Reserve(t.Context(), consumer, usdc("1"))
		if err != nil {
			t.Fatal(err)
		}
		var crowd sync.WaitGroup
		begun, trips := time.Now(), h.bank.Trips()
		for i := range 40 {
			crowd.Go(func() {
				for time.Since(begun) < 10*time.Second {
					if _, err := timed([]*Charger{b, c}[i%2], consumer, usdc("0.5")); !errors.Is(err, vault.ErrHeld) {
						t.Error(err)
					}
				}
			})
		}
		crowd.Wait()
		took := time.Since(begun)
		if n := len(h.bank.Recalls()); n < 2 || n > int(took/vault.RecallEvery)+1 {
			t.Errorf("%d messages in %v", n, took)
		}
		if n := h.bank.Trips() - trips; n > 2*int(took/(firstAskAgain)) {
			t.Errorf("%d questions in %v", n, took)
		}
		hold.Release()
		drain(t, a, b, c)
		h.wantSpent(consumer, usdc("0"))
	})
}

func TestNodesThatAreAllShortSpendTheVaultToTheLastStroop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("30"))
		tills := []*Charger{h.node(patient), h.node(patient), h.node(patient)}
		h.connect(tills...)
		for _, node := range tills { // each has a part that is idle
			idle(t, node, consumer, usdc("10"))
		}
		h.bank.Fail = func(string, bool) error { time.Sleep(time.Millisecond); return nil }
		var served, early atomic.Int64
		var crowd sync.WaitGroup
		begun := time.Now()
		for i := range 24 {
			crowd.Go(func() {
				for {
					switch err := call(tills[i%3], consumer, usdc("0.07")); {
					case err == nil:
						served.Add(1)
					case errors.Is(err, vault.ErrHeld):
						early.Add(1)
					case errors.Is(err, vault.ErrShort):
						return
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		crowd.Wait()
		took := time.Since(begun)
		if served.Load() != 428 { // 29.96 of 30
			t.Errorf("%d served, %d refused too early", served.Load(), early.Load())
		}
		if took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := len(h.bank.Recalls()); n > int(took/vault.RecallEvery)+1 {
			t.Errorf("%d messages in %v", n, took)
		}
		drain(t, tills...)
		h.wantSpent(consumer, usdc("29.96"))
	})
}

func TestACheapCallDoesNotWaitForTheMoneyThatADearOneNeeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(patient)
		h.connect(b)
		idle(t, a, consumer, usdc("0.9"))
		var dear sync.WaitGroup
		dear.Go(func() {
			if _, err := timed(b, consumer, usdc("0.5")); !errors.Is(err, vault.ErrHeld) {
				t.Error(err)
			}
		})
		time.Sleep(200 * time.Millisecond)
		if took, err := timed(b, consumer, usdc("0.05")); err != nil || took > lastAskAgain {
			t.Errorf("%v after %v", err, took)
		}
		dear.Wait()
		drain(t, a, b)
		h.wantSpent(consumer, usdc("0.05"))
	})
}

func TestADrainDoesNotWaitForOtherNodesMoney(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(func(c *Config) { c.RecallWait = time.Minute })
		h.connect(b)
		idle(t, a, consumer, usdc("1"))
		var waits sync.WaitGroup
		waits.Go(func() {
			if _, err := b.Reserve(context.Background(), consumer, usdc("1")); !errors.Is(err, vault.ErrShort) && !errors.Is(err, usage.ErrNotRecorded) {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		begun := time.Now()
		drain(t, b)
		waits.Wait()
		if took := time.Since(begun); took > lastAskAgain {
			t.Errorf("it took %v", took)
		}
		b.Heed(recallOf(consumer)) // the feed outlives charging
		drain(t, a)
		h.wantSpent(consumer, usdc("0"))
	})
}
