package charging

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// lossy makes the bank lose the first n answers (done) or requests of an operation, and counts how often it is asked.
func (h *house) lossy(op string, done bool, n int64) (asked *atomic.Int64) {
	asked = new(atomic.Int64)
	var lost atomic.Int64
	h.bank.Fail = func(of string, after bool) error {
		if of == op && !after {
			asked.Add(1)
		}
		if of == op && after == done && lost.Add(1) <= n {
			return errAway
		}
		return nil
	}
	return asked
}

// until waits in virtual time, for as long as no test should need.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 10_000 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestALongCallDoesNotPinMoney(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		replaced := h.lossy("replace", false, 0)
		charger := h.node(nil)
		stream := reserved(t, charger, consumer)
		for hour := range 6 {
			if err := call(charger, consumer, usdc("1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			b := h.bank.Balance(consumer)
			if want, _ := usdc("1").Times(int64(hour + 1)); b.Uncollected != want || b.Held != usdc("1") {
				t.Errorf("after %d hours %s can be collected, and %s is held", hour+1, b.Uncollected, b.Held)
			}
			if n, err := h.bank.IndexRevenue(t.Context(), 10); n != 1 || err != nil {
				t.Errorf("%d calls booked, %v; want the one of this hour", n, err)
			}
			if n, err := h.bank.ExpireLeases(t.Context(), 10); n != 0 || err != nil {
				t.Errorf("%d leases expired, %v", n, err)
			}
		}
		if n := replaced.Load(); n != 1 {
			t.Errorf("leases were replaced %d times, though a call beside the stream was charged on one", n)
		}
		if err := stream.Charge(t.Context(), event(consumer)); err != nil {
			t.Errorf("the stream was not charged: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("7"))
	})
}

func TestALongCallMovesToALeaseThoughTheVaultHasNothingLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		charger, other := h.node(nil), h.node(nil)
		stream := reserved(t, charger, consumer)
		for range 2 {
			if err := call(charger, consumer, usdc("1")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)                                    // what nobody needs is back
		rest, err := other.Reserve(t.Context(), consumer, usdc("997")) // all that is free
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if b := h.bank.Balance(consumer); b.Uncollected != usdc("2") || b.Held != usdc("998") {
			t.Errorf("%s can be collected, and %s is held", b.Uncollected, b.Held)
		}
		if err := stream.Charge(t.Context(), event(consumer)); err != nil {
			t.Errorf("the stream was not charged: %v", err)
		}
		rest.Release()
		drain(t, charger, other)
		h.wantSpent(consumer, usdc("3"))
	})
}

// While it is unknown whether a lease has been replaced, a stream on it ends.
func TestAStreamThatEndsWhileItsLeaseIsReplacedIsChargedOnce(t *testing.T) {
	t.Parallel()
	for name, committed := range map[string]bool{"not committed": false, "committed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1000"))
				replaced := h.lossy("replace", committed, 1)
				charger := h.node(nil)
				stream, other := reserved(t, charger, consumer), reserved(t, charger, consumer)
				if err := call(charger, consumer, usdc("1")); err != nil {
					t.Fatal(err)
				}
				until(t, "its lease is replaced", func() bool { return replaced.Load() > 0 })
				if err := stream.Charge(t.Context(), event(consumer)); err != nil {
					t.Errorf("the stream was not charged: %v", err)
				}
				time.Sleep(5 * time.Second)
				if b := h.bank.Balance(consumer); b.Held.Less(usdc("1")) {
					t.Errorf("%s is held for the stream that goes on", b.Held)
				}
				if err := other.Charge(t.Context(), event(consumer)); err != nil {
					t.Errorf("the other stream was not charged: %v", err)
				}
				drain(t, charger)
				h.wantSpent(consumer, usdc("3"))
			})
		})
	}
}

func TestAStreamLivesOnWhileItIsUnknownWhetherItsLeaseWasReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		replaced := h.lossy("replace", true, 100) // 50 s of answers
		charger := h.node(nil)
		stream := reserved(t, charger, consumer)
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		until(t, "its lease is replaced", func() bool { return replaced.Load() > 0 })
		for range 200 { // of seconds
			time.Sleep(time.Second)
			if n, err := h.bank.ExpireLeases(t.Context(), 10); n != 0 || err != nil {
				t.Fatalf("%d leases expired, %v", n, err)
			}
		}
		if err := stream.Charge(t.Context(), event(consumer)); err != nil {
			t.Errorf("the stream was not charged: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("2"))
	})
}

func TestAStreamThatEndsIsAnsweredInTimeThoughItStaysUnknownWhetherItsLeaseWasReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer, other := newID(), newID()
		h.bank.Fund(consumer, usdc("1000"))
		h.bank.Fund(other, usdc("1000"))
		replaced := h.lossy("replace", true, 200)
		charger := h.node(nil)
		stream := reserved(t, charger, consumer)
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		until(t, "its lease is replaced", func() bool { return replaced.Load() > 0 })
		start := time.Now()
		if err := stream.Charge(t.Context(), event(consumer)); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the stream ended with %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("its caller waited %s", took)
		}
		time.Sleep(3 * time.Second)
		if err := call(charger, other, usdc("1")); err != nil {
			t.Errorf("others are not served: %v", err)
		}
		time.Sleep(3 * time.Minute)
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestALeaseOfWhichItIsUnknownWhetherItWasReplacedIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{"by the next pass": 5 * time.Second, "by a drain": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1000"))
				replaced := h.lossy("replace", true, 1)
				charger := h.node(nil)
				stream := reserved(t, charger, consumer)
				if err := call(charger, consumer, usdc("1")); err != nil {
					t.Fatal(err)
				}
				until(t, "its lease is replaced", func() bool { return replaced.Load() > 0 })
				stream.Release()
				time.Sleep(wait)
				if b := h.bank.Balance(consumer); wait > 0 && !b.Held.IsZero() {
					t.Errorf("%s is set aside for nobody", b.Held)
				}
				drain(t, charger)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}

func TestAGrantWithoutAnAnswerIsNotLost(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"not committed": false, "committed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1"))
				h.lossy("grant", done, 1)
				charger := h.node(func(c *Config) { c.MaintainEvery = time.Hour })
				if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
					t.Errorf("the first call: %v", err)
				}
				if err := call(charger, consumer, usdc("1")); err != nil {
					t.Errorf("the vault's only money is out of reach: %v", err)
				}
				drain(t, charger)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}

func TestAGrantThatIsTooSmallForLaterCallsIsJoinedWithTheRestOfTheVault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("3"))
		h.lossy("grant", true, 1)
		charger := h.node(nil)
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the first call: %v", err)
		}
		if err := call(charger, consumer, usdc("3")); err != nil {
			t.Errorf("a call for all of the money: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("3"))
	})
}

func TestAGrantThatNobodyWaitsForAnyMoreGoesBack(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]time.Duration{"its answer is lost": 0, "its commit takes long": 8 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1000"))
				if held == 0 {
					h.lossy("grant", true, 1)
				}
				var once atomic.Bool
				h.bank.Commit = func(op string) error {
					if op == "grant" && !once.Swap(true) {
						time.Sleep(held)
					}
					return nil
				}
				charger := h.node(nil)
				if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
					t.Errorf("the call: %v", err)
				}
				time.Sleep(10 * time.Second) // less than a lease's life
				if b := h.bank.Balance(consumer); !b.Held.IsZero() {
					t.Errorf("%s is set aside for nobody", b.Held)
				}
				drain(t, charger)
				h.wantSpent(consumer, money.Amount{})
			})
		})
	}
}

func TestADrainGivesBackAGrantWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1"))
		h.lossy("grant", true, 1)
		charger := h.node(func(c *Config) { c.MaintainEvery = time.Hour })
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the call: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, money.Amount{})
	})
}

// A part given back, a renewal and a close whose answers are lost are asked for again and change nothing more.
func TestWhatIsAskedAgainOfALeaseHappensOnce(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"return", "renew", "close"} {
		for name, done := range map[string]bool{"not committed": false, "committed": true} {
			t.Run(op+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t)
					consumer := newID()
					h.bank.Fund(consumer, usdc("1000"))
					asked := h.lossy(op, done, 1)
					charger := h.node(nil)
					stream := reserved(t, charger, consumer)
					if err := call(charger, consumer, usdc("2")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Minute)
					if b := h.bank.Balance(consumer); b.Uncollected != usdc("2") || b.Held != usdc("1") {
						t.Errorf("%s is held and %s uncollected", b.Held, b.Uncollected)
					}
					if err := stream.Charge(context.Background(), event(consumer)); err != nil {
						t.Errorf("the stream was not charged: %v", err)
					}
					time.Sleep(10 * time.Second)
					drain(t, charger)
					if asked.Load() < 2 {
						t.Errorf("%s was asked for %d times", op, asked.Load())
					}
					h.wantSpent(consumer, usdc("3"))
				})
			})
		}
	}
}
