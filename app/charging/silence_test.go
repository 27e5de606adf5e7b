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

// silent is a journal behind a network that loses packets without a word, and a driver that waits for them whatever its
// context says: an Append comes back only when the silence ends.
type silent struct {
	ports.UsageJournal
	silence
	stored bool // what was asked arrived, and only its answer was lost
	appends,
	voids atomic.Int64
}

// silence lasts until end.
type silence struct {
	ended chan struct{}
	once  *sync.Once
}

func newSilence() silence { return silence{make(chan struct{}), new(sync.Once)} }

func (s silence) end() { s.once.Do(func() { close(s.ended) }) }

func (s *silent) Append(_ context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	s.appends.Add(1)
	if !s.stored {
		<-s.ended
	}
	out, err := s.UsageJournal.Append(context.Background(), batch)
	<-s.ended
	return out, err
}

func (s *silent) Void(ctx context.Context, batch []usage.Record) (kept []id.ID, err error) {
	s.voids.Add(1)
	return s.UsageJournal.Void(ctx, batch)
}

func TestACallerIsAnsweredInTimeThoughTheJournalHangs(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"before the commit": false, "after the commit": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				consumer := newID()
				h.bank.Fund(consumer, usdc("1"))
				journal := &silent{UsageJournal: h.bank, silence: newSilence(), stored: stored}
				charger := New(h.config(), h.bank, journal, time.Now, newID)
				charger.Start()
				time.AfterFunc(time.Hour, journal.end) // a test that fails ends too
				start := time.Now()
				if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
					t.Errorf("the call ended with %v", err)
				}
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("its caller waited %s, want METERING_COMMIT_TIMEOUT_MS", took)
				}
				time.Sleep(time.Millisecond)
				if !charger.Failing() {
					t.Error("charges are said to be stored")
				}
				start = time.Now()
				if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) || time.Since(start) != 0 {
					t.Errorf("meanwhile a call got %v after %s", err, time.Since(start))
				}
				if s := charger.Stats(); s.HeldStroops != usdc("1").Stroops() || journal.appends.Load() != 1 {
					t.Errorf("%+v: the money is free though its record is in doubt", s)
				}
				journal.end()
				synctest.Wait()
				if journal.voids.Load() != 1 || len(h.bank.Events()) != 0 || charger.Failing() {
					t.Errorf("%d voids, %d events, failing %v", journal.voids.Load(), len(h.bank.Events()), charger.Failing())
				}
				if err := call(charger, consumer, usdc("1")); err != nil {
					t.Errorf("service did not come back by itself: %v", err)
				}
				drain(t, charger)
				h.wantSpent(consumer, usdc("1"))
			})
		})
	}
}

// The transaction is open when the caller is told that it is not charged, and commits afterwards. A void that looked for
// the event without waiting for that would find nothing.
func TestACommitThatLandsLateIsVoided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("2"))
		var once atomic.Bool
		h.bank.Commit = func(op string) error {
			if op == "append" && !once.Swap(true) {
				time.Sleep(time.Minute)
			}
			return nil
		}
		charger := h.node(nil)
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the call ended with %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := call(charger, consumer, usdc("2")); err != nil {
			t.Errorf("the money is not free again: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("2"))
	})
}

func TestOfABatchOnlyThoseWhoGaveUpAreVoided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("100"))
		var away, stored atomic.Bool
		away.Store(true)
		h.bank.Fail = func(op string, done bool) error {
			if away.Load() && op == "append" && (done || stored.Load()) {
				stored.Store(true)
				return errAway
			}
			return nil
		}
		charger := h.node(func(c *Config) { c.Shards = 1 })
		first, late := make(chan error, 1), make(chan error, 1)
		hold := reserved(t, charger, consumer)
		next := reserved(t, charger, consumer)
		go func() { first <- hold.Charge(context.Background(), event(consumer)) }()
		time.Sleep(5 * time.Second)
		go func() { late <- next.Charge(context.Background(), event(consumer)) }()
		time.Sleep(8 * time.Second) // the first has given up and is on disk, the second is neither
		away.Store(false)
		if err := <-first; !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the first ended with %v", err)
		}
		if err := <-late; err != nil {
			t.Errorf("the second ended with %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
	})
}

func reserved(t *testing.T, charger *Charger, consumer id.ID) ports.Hold {
	t.Helper()
	hold, err := charger.Reserve(t.Context(), consumer, usdc("1"))
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

func TestACallerBehindRecordsThatNobodyWaitsForIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("100"))
		var away atomic.Bool
		away.Store(true)
		h.bank.Fail = func(op string, _ bool) error {
			if away.Load() && op == "append" {
				return errAway
			}
			return nil
		}
		charger := h.node(func(c *Config) { c.Mode, c.Shards, c.BatchMax = Async, 1, 3 })
		var holds []ports.Hold
		for range 4 {
			holds = append(holds, reserved(t, charger, consumer))
		}
		for _, hold := range holds[:3] { // as many as a batch holds
			if err := hold.Charge(t.Context(), event(consumer)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		keyed := h.claimed(consumer)
		time.AfterFunc(time.Minute, func() { away.Store(false) }) // a test that fails ends too
		start := time.Now()
		if err := holds[3].Charge(t.Context(), keyed); !errors.Is(err, usage.ErrNotRecorded) || !errors.Is(err, errAway) {
			t.Errorf("the call ended with %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("its caller waited %s", took)
		}
		away.Store(false)
		time.Sleep(5 * time.Second)
		if _, ok := h.bank.Events()[keyed.ID]; ok {
			t.Error("a record that its caller gave up before it was sent was stored")
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("3"))
	})
}

func TestADrainEndsInTimeThoughTheJournalHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("10"))
		journal := &silent{UsageJournal: h.bank, silence: newSilence()}
		cfg := h.config()
		cfg.Mode, cfg.Shards, cfg.BatchMax = Async, 1, 1
		charger := New(cfg, h.bank, journal, time.Now, newID)
		charger.Start()
		for range 3 { // one hangs, two wait in the queue
			if err := call(charger, consumer, usdc("1")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		time.AfterFunc(time.Hour, journal.end) // a test that fails ends too
		start := time.Now()
		if err := charger.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
		if h.reported() != 1 || len(h.incidents[0].Events) != 3 {
			t.Errorf("incidents %+v, want one of three charges", h.incidents)
		}
		journal.end()
	})
}

func TestADrainLeavesNobodyBehindWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("10"))
		silence := newSilence()
		h.bank.Commit = func(op string) error { // which ends with the context, as it should
			if op != "grant" {
				<-silence.ended
				return errAway
			}
			return nil
		}
		charger := h.node(func(c *Config) { c.Mode = Async })
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if err := charger.Drain(ctx); err == nil {
			t.Error("nothing is said of the leases that were not given back")
		}
		if took := time.Since(start); took > 2500*time.Millisecond || h.reported() != 1 {
			t.Errorf("it took %s, with %d incidents", took, h.reported())
		}
		silence.end()
	})
}

func TestACallerWaitsForALeaseNoLongerThanAGrantMayTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("10"))
		leases := &silentLeases{Leases: h.bank, silence: newSilence()}
		charger := New(h.config(), leases, h.bank, time.Now, newID)
		charger.Start()
		time.AfterFunc(time.Hour, leases.end) // a test that fails ends too
		for range 2 {                         // the second finds the first's grant under way
			start := time.Now()
			if _, err := charger.Reserve(t.Context(), consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
				t.Errorf("reserve: %v", err)
			}
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("its caller waited %s", took)
			}
		}
		leases.end()
		synctest.Wait()
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Errorf("service did not come back by itself: %v", err)
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
	})
}

// silentLeases is silent for grants.
type silentLeases struct {
	Leases
	silence
}

func (s *silentLeases) Grant(ctx context.Context, g ports.LeaseGrant) (vault.Lease, error) {
	<-s.ended
	return s.Leases.Grant(context.WithoutCancel(ctx), g)
}

func BenchmarkACharge(b *testing.B) {
	h := &house{bank: newHouse(nil).bank}
	consumer := newID()
	h.bank.Fund(consumer, money.FromStroops(1<<60))
	cfg := h.config()
	charger := New(cfg, h.bank, forgetful{h.bank}, time.Now, newID)
	charger.Start()
	e := event(consumer)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hold, err := charger.Reserve(b.Context(), consumer, money.FromStroops(1))
			if err != nil {
				b.Error(err)
				return
			}
			if err := hold.Charge(b.Context(), e); err != nil {
				b.Error(err)
			}
		}
	})
}

// What a call costs while its node has money for it.
func BenchmarkAReservation(b *testing.B) {
	h := &house{bank: newHouse(nil).bank}
	consumer := newID()
	h.bank.Fund(consumer, money.FromStroops(1<<60))
	charger := New(h.config(), h.bank, h.bank, time.Now, newID)
	price := money.FromStroops(1)
	b.ReportAllocs()
	for b.Loop() {
		hold, err := charger.Reserve(b.Context(), consumer, price)
		if err != nil {
			b.Fatal(err)
		}
		hold.Release()
	}
}

// forgetful is a journal that stores nothing, at once.
type forgetful struct{ ports.UsageJournal }

func (forgetful) Append(_ context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	return make([]ports.RecordOutcome, len(batch)), nil
}
