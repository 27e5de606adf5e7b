package charging

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// slow makes each operation of a kind take d before it takes effect.
func (h *house) slow(op string, d time.Duration) {
	h.bank.Commit = func(of string) error {
		if of == op {
			time.Sleep(d)
		}
		return nil
	}
}

func TestARecallThatMeetsAGrantTakesWhatTheGrantLeavesIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(patient)
		h.connect(a, b)
		var second atomic.Bool
		h.bank.Fail = func(op string, done bool) error {
			if op == "grant" && done && !second.Swap(true) {
				time.Sleep(100 * time.Millisecond) // its answer is under way
			}
			return nil
		}
		leaves, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := a.Reserve(leaves, consumer, usdc("1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if took, err := timed(b, consumer, usdc("1")); err != nil || took > 250*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestARecallThatMeetsOtherWorkOnALeaseIsServedAfterIt(t *testing.T) {
	t.Parallel()
	for op, change := range map[string]func(*Config){
		"close": func(c *Config) { patient(c); c.LeaseIdle = time.Second },
		"renew": func(c *Config) { patient(c); c.LeaseTTL, c.MaintainEvery = 2*time.Second, 800*time.Millisecond },
	} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1"))
				begun := make(chan struct{})
				h.bank.Commit = func(of string) error {
					if of == op {
						select {
						case begun <- struct{}{}:
							time.Sleep(100 * time.Millisecond)
						default:
						}
					}
					return nil
				}
				a, b := h.node(change), h.node(patient)
				h.connect(a, b)
				idle(t, a, consumer, usdc("1"))
				<-begun
				if took, err := timed(b, consumer, usdc("1")); err != nil || took < 90*time.Millisecond || took > 300*time.Millisecond {
					t.Errorf("%v after %v", err, took)
				}
				drain(t, a, b)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}

// The holds move to the successor with their money, and one that ends meanwhile leaves its part to others.
func TestARecallThatMeetsASuccessionLeavesStreamsTheirMoney(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("3"))
		begun := make(chan struct{})
		h.bank.Commit = func(op string) error {
			if op == "replace" {
				begun <- struct{}{}
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}
		a := h.node(func(c *Config) { c.LeaseIdle, c.LeaseMaxAge = time.Hour, 2*time.Second })
		b := h.node(func(c *Config) { patient(c); c.RecallWait = 2 * time.Second })
		h.connect(a, b)
		idle(t, a, consumer, usdc("3")) // one lease
		stream, ends := reserved(t, a, consumer), reserved(t, a, consumer)
		if err := call(a, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		<-begun
		ends.Release()
		if took, err := timed(b, consumer, usdc("1")); err != nil || took < 90*time.Millisecond {
			t.Errorf("what the stream that ended has left: %v after %v", err, took)
		}
		if _, err := timed(b, consumer, usdc("1")); !errors.Is(err, vault.ErrHeld) {
			t.Errorf("what the stream that goes on holds: %v", err)
		}
		if err := stream.Charge(t.Context(), event(consumer)); err != nil {
			t.Errorf("the stream was not charged: %v", err)
		}
		drain(t, a, b)
		h.wantSpent(consumer, usdc("3"))
	})
}

func TestACallOnTheNodeThatGivesBackWaitsForItAndIsServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		a, b := h.node(patient), h.node(patient)
		h.connect(a)
		idle(t, a, consumer, usdc("1"))
		h.slow("return", 100*time.Millisecond)
		var other sync.WaitGroup
		other.Go(func() {
			if err := call(b, consumer, usdc("0.5")); err != nil {
				t.Errorf("the one that was short: %v", err)
			}
		})
		time.Sleep(50 * time.Millisecond)
		if took, err := timed(a, consumer, usdc("0.5")); err != nil || took < 50*time.Millisecond {
			t.Errorf("the one that gives back: %v after %v", err, took)
		}
		other.Wait()
		drain(t, a, b)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestWhatFailedToGoBackIsGivenBackByTheNextPass(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"the request is lost": false, "the answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1"))
				a, b := h.node(patient), h.node(func(c *Config) { patient(c); c.RecallWait = 2 * time.Second })
				h.connect(a, b)
				idle(t, a, consumer, usdc("1"))
				if err := call(a, consumer, usdc("0.2")); err != nil {
					t.Fatal(err)
				}
				h.lossy("return", done, 1)
				if err := call(b, consumer, usdc("0.8")); err != nil {
					t.Error(err)
				}
				if h.reported() != 1 {
					t.Errorf("%d incidents", h.reported())
				}
				drain(t, a, b)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}

func TestMoneyOfAChargeInDoubtIsNotGivenBack(t *testing.T) {
	t.Parallel()
	for name, landed := range map[string]bool{"it is not on disk": false, "it is on disk": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1"))
				a, b := h.node(patient), h.node(patient)
				h.connect(a, b)
				idle(t, a, consumer, usdc("1"))
				var back atomic.Bool
				h.bank.Fail = func(op string, done bool) error {
					if (op == "append" && done == landed || op == "void") && !back.Load() {
						return errAway
					}
					return nil
				}
				if err := call(a, consumer, usdc("0.6")); !errors.Is(err, usage.ErrNotRecorded) {
					t.Fatal(err)
				}
				if err := call(a, consumer, usdc("0.1")); !errors.Is(err, usage.ErrNotRecorded) {
					t.Fatal(err)
				}
				hold, err := b.Reserve(t.Context(), consumer, usdc("0.4"))
				if err != nil {
					t.Fatalf("money that is idle beside it: %v", err)
				}
				hold.Release()
				if _, err := timed(b, consumer, usdc("0.5")); !errors.Is(err, vault.ErrShort) {
					t.Errorf("money of a charge that may still land: %v", err)
				}
				back.Store(true)
				time.Sleep(5 * time.Second) // it is voided
				if err := call(b, consumer, usdc("1")); err != nil {
					t.Errorf("money of a charge that was given up: %v", err)
				}
				drain(t, a, b)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}
