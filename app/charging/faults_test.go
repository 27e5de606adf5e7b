package charging

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

var errAway = errors.New("database is away")

func TestAnAnswerLostAtCommitIsChargedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("10"))
		var lost atomic.Bool
		h.bank.Fail = func(op string, done bool) error {
			if op == "append" && done && !lost.Swap(true) {
				return errAway // it was stored, but the node does not hear of it
			}
			return nil
		}
		charger := h.node(nil)
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Errorf("the retry did not find its event: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
	})
}

func TestWhatACallerWasToldIsNotChargedIsNotCharged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		var away atomic.Bool
		h.bank.Fail = func(op string, done bool) error {
			if away.Load() && (done || op != "append") {
				return errAway // appends arrive, their answers do not
			}
			return nil
		}
		charger := h.node(func(c *Config) { // a lease that lasts: what refuses calls is not that money is out of reach
			c.LeaseTTL, c.LeaseIdle, c.LeaseMaxAge = time.Hour, time.Hour, time.Hour
		})
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		away.Store(true)
		start := time.Now()
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the call ended with %v", err)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("the caller waited %s", took)
		}
		if len(h.bank.Events()) != 2 {
			t.Fatal("the doubtful event is not there: the test tests nothing")
		}
		start = time.Now()
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) || time.Since(start) != 0 {
			t.Errorf("while the database is away a call got %v after %s", err, time.Since(start))
		}
		away.Store(false)
		time.Sleep(3 * time.Second)
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Errorf("service did not come back: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("2"))
		if n := h.reported(); n > 0 && len(h.incidents[0].Events) > 0 {
			t.Errorf("%d incidents, the first %q", n, h.incidents[0].Message)
		}
	})
}

func TestAChargeWhoseLeaseEndedIsVoidedUntilItIsBooked(t *testing.T) {
	t.Parallel()
	for name, booked := range map[string]bool{"ended": false, "booked": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1000"))
				var away atomic.Bool
				h.bank.Fail = func(op string, done bool) error {
					if away.Load() && op != "expire" && op != "index" && (done || op != "append") {
						return errAway
					}
					return nil
				}
				charger := h.node(nil)
				if err := call(charger, consumer, usdc("1")); err != nil {
					t.Fatal(err)
				}
				away.Store(true)
				if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
					t.Errorf("the call ended with %v", err)
				}
				time.Sleep(time.Minute)
				if n, err := h.bank.ExpireLeases(t.Context(), 10); n != 1 || err != nil {
					t.Fatalf("expired %d, %v", n, err)
				}
				spent, reports := usdc("1"), 0
				if booked {
					spent, reports = usdc("2"), 1
					if n, err := h.bank.IndexRevenue(t.Context(), 10); n != 2 || err != nil {
						t.Fatalf("booked %d, %v", n, err)
					}
				}
				away.Store(false)
				time.Sleep(3 * time.Second)
				drain(t, charger)
				h.wantSpent(consumer, spent)
				found := 0
				for _, i := range h.incidents {
					found += len(i.Events)
				}
				if found != reports {
					t.Errorf("%d charges reported that their callers do not know of, want %d", found, reports)
				}
			})
		})
	}
}

func TestARefusedRecordDoesNotTakeOthersWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("100"))
		charger := New(h.config(), h.bank, poisoned{h.bank}, time.Now, newID)
		var holds []ports.Hold
		for range 9 {
			hold, err := charger.Reserve(t.Context(), consumer, usdc("1"))
			if err != nil {
				t.Fatal(err)
			}
			holds = append(holds, hold)
		}
		var charged atomic.Int64
		var wg sync.WaitGroup
		for i, hold := range holds {
			e := event(consumer)
			if i == 4 {
				e.Status = poison
			}
			wg.Go(func() {
				if err := hold.Charge(context.Background(), e); err == nil {
					charged.Add(1)
				} else if i != 4 {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all are queued: one batch
		charger.Start()
		wg.Wait()
		drain(t, charger)
		if charged.Load() != 8 || h.reported() != 1 {
			t.Errorf("%d charged, %d incidents; want 8 and 1", charged.Load(), h.reported())
		}
		h.wantSpent(consumer, usdc("8"))
	})
}

const poison = 999

// poisoned refuses batches that hold a record with the status poison.
type poisoned struct{ ports.UsageJournal }

func (p poisoned) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	for _, r := range batch {
		if r.Status == poison {
			return nil, ports.ErrRejected
		}
	}
	return p.UsageJournal.Append(ctx, batch)
}

func TestAsyncAnswersAtOnceAndStoresSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("10"))
		charger := h.node(func(c *Config) { c.Mode = Async })
		start := time.Now()
		for range 5 {
			if err := call(charger, consumer, usdc("1")); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(start) != 0 || len(h.bank.Events()) != 0 {
			t.Errorf("%d events after %s: async waited", len(h.bank.Events()), time.Since(start))
		}
		once := h.claimed(consumer) // a key must be answered on disk before its answer is given
		hold, err := charger.Reserve(t.Context(), consumer, usdc("1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := hold.Charge(t.Context(), once); err != nil {
			t.Fatal(err)
		}
		if n := len(h.bank.Events()); n != 6 {
			t.Errorf("%d events after a flush", n)
		}
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		drain(t, charger) // stores what waits
		h.wantSpent(consumer, usdc("7"))
	})
}

func TestAsyncCallsWaitForADatabaseThatIsBehindAndAFullQueueRefusesThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("100"))
		charger := New(func() Config { c := h.config(); c.Mode, c.QueueMax = Async, 4; return c }(), h.bank, h.bank, time.Now, newID)
		for range 2 {
			if err := call(charger, consumer, usdc("1")); err != nil {
				t.Fatal(err)
			}
		}
		answers := make(chan error, 2)
		for range 2 {
			go func() { answers <- call(charger, consumer, usdc("1")) }()
		}
		synctest.Wait()
		if len(answers) != 0 {
			t.Errorf("%d calls did not wait, though half of the queue is full", len(answers))
		}
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("a call on a full queue: %v", err)
		}
		charger.Start()
		for range 2 {
			if err := <-answers; err != nil {
				t.Errorf("a call that waited: %v", err)
			}
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("4"))
	})
}

func TestShutdownWithoutADatabaseEndsAndReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("10"))
		charger := h.node(func(c *Config) { c.Mode = Async })
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		h.bank.Fail = func(string, bool) error { return errAway }
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := charger.Drain(ctx); !errors.Is(err, errAway) && err != nil {
			t.Errorf("drain: %v", err)
		}
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("drain took %s", took)
		}
		if h.reported() == 0 {
			t.Error("lost charges were not reported")
		}
		h.bank.Fail = nil
		time.Sleep(time.Minute)
		if _, err := h.bank.ExpireLeases(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		h.wantSpent(consumer, usdc("0")) // in the buyer's favour
	})
}

// Nodes that crash, databases that fail before or after the fact, callers that leave: whatever happens, every call that was
// answered as charged is charged once, no call that was refused is, and nothing is overspent or left set aside.
func TestMoneyIsExactWhateverFails(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		funds := rapid.IntRange(1, 60).Draw(rt, "funds")
		faults := rapid.IntRange(0, 30).Draw(rt, "faults in 100")
		async := rapid.Bool().Draw(rt, "async")
		synctest.Test(t, func(t *testing.T) {
			storm(t, rt, seed, funds, faults, async)
		})
	})
}

func storm(t *testing.T, rt *rapid.T, seed uint64, funds, faults int, async bool) {
	h := newHouse(t)
	consumer := newID()
	balance, _ := usdc("1").Times(int64(funds))
	h.bank.Fund(consumer, balance)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 1))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	var calm atomic.Bool
	h.bank.Fail = func(string, bool) error {
		time.Sleep(time.Duration(roll(20)) * time.Millisecond)
		if !calm.Load() && roll(100) < faults {
			return errAway
		}
		return nil
	}
	h.bank.Commit = func(string) error { // some transactions stay open for longer than their callers wait
		if !calm.Load() && roll(100) < faults/3 {
			time.Sleep(time.Duration(roll(25_000)) * time.Millisecond)
		}
		return nil
	}
	mode := func(c *Config) {
		c.LeaseMaxAge = 2 * time.Second // streams outlive their leases
		if async {
			c.Mode = Async
		}
	}
	tills := []*Charger{h.node(mode), h.node(mode)}
	h.connect(tills...)
	expiry, stopExpiry := context.WithCancel(context.Background())
	var passes sync.WaitGroup
	passes.Go(func() {
		for expiry.Err() == nil {
			time.Sleep(time.Second)
			_, _ = h.bank.ExpireLeases(expiry, 100)
		}
	})
	var charged, refused sync.Map
	var wg sync.WaitGroup
	for i := range 80 {
		wg.Go(func() {
			time.Sleep(time.Duration(roll(20_000)) * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(roll(8000)+1)*time.Millisecond)
			defer cancel()
			price, _ := usdc("0.25").Times(int64(roll(8) + 1))
			hold, err := tills[i%2].Reserve(ctx, consumer, price)
			if err != nil {
				if !errors.Is(err, vault.ErrShort) && !errors.Is(err, usage.ErrNotRecorded) && ctx.Err() == nil {
					rt.Errorf("reserve: %v", err)
				}
				return
			}
			defer hold.Release()
			if roll(8) == 0 {
				time.Sleep(time.Duration(roll(60_000)) * time.Millisecond)
			}
			time.Sleep(time.Duration(roll(3000)) * time.Millisecond)
			if roll(4) == 0 {
				return // not chargeable
			}
			e := event(consumer)
			if hold.Charge(ctx, e) == nil {
				charged.Store(e.ID, price)
			} else {
				refused.Store(e.ID, price)
			}
		})
	}
	wg.Wait()
	calm.Store(true)
	for _, charger := range tills {
		if s := charger.Stats(); !async && (s.CallsInHold > s.Queued) {
			rt.Errorf("holds are left: %+v", s)
		}
	}
	time.Sleep(30 * time.Second)
	for _, charger := range tills {
		if err := charger.Drain(context.Background()); err != nil {
			rt.Errorf("drain: %v", err)
		}
	}
	time.Sleep(time.Minute)
	stopExpiry()
	passes.Wait()
	if _, err := h.bank.ExpireLeases(context.Background(), 100); err != nil {
		rt.Fatal(err)
	}

	events := h.bank.Events()
	reported := map[id.ID]bool{}
	for _, i := range h.incidents {
		for _, e := range i.Events {
			reported[e] = true
		}
	}
	charged.Range(func(e, _ any) bool {
		if _, ok := events[e.(id.ID)]; !ok && !(async && reported[e.(id.ID)]) {
			rt.Errorf("a call that was answered as charged has no event")
		}
		return true
	})
	refused.Range(func(e, _ any) bool {
		if _, ok := events[e.(id.ID)]; ok && !reported[e.(id.ID)] {
			rt.Errorf("a call that was refused is charged, and nobody was told")
		}
		return true
	})
	b := h.bank.Balance(consumer)
	if !b.Held.IsZero() || balance.Less(b.Uncollected) {
		rt.Errorf("held %s, spent %s of %s", b.Held, b.Uncollected, balance)
	}
	found, _ := h.bank.Invariants(context.Background())
	for _, i := range found {
		if !i.Holds() {
			rt.Errorf("%s: %s and %s, %d offenders", i.Name, i.Left, i.Right, i.Offenders)
		}
	}
}
