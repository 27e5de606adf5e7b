package charging

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// gathering is a charger with one writer whose batches are known, and calls on it.
type gathering struct {
	*house
	charger  *Charger
	consumer id.ID

	mu    sync.Mutex
	sizes []int
}

// slowJournal takes its time.
type slowJournal struct {
	ports.UsageJournal
	takes time.Duration
}

func (j slowJournal) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	time.Sleep(j.takes) // in a synctest bubble
	return j.UsageJournal.Append(ctx, batch)
}

func newGathering(t *testing.T, mode Mode, takes time.Duration) *gathering {
	g := &gathering{house: newHouse(t), consumer: newID()}
	g.bank.Fund(g.consumer, usdc("1000"))
	cfg := g.config()
	cfg.Shards, cfg.Mode, cfg.DurableWait = 1, mode, 2*time.Millisecond
	cfg.ObserveBatch = func(n int, _ time.Duration, _ error) {
		g.mu.Lock()
		g.sizes = append(g.sizes, n)
		g.mu.Unlock()
	}
	g.charger = New(cfg, g.bank, slowJournal{g.bank, takes}, time.Now, newID)
	g.charger.Start()
	if err := call(g.charger, g.consumer, usdc("0.1")); err != nil { // gets the lease
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	g.batches()
	return g
}

// batches are the sizes of those stored since it was last asked.
func (g *gathering) batches() []int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.sizes = nil }()
	return g.sizes
}

func (g *gathering) reserve(calls int) (holds []ports.Hold) {
	g.t.Helper()
	for range calls {
		h, err := g.charger.Reserve(context.Background(), g.consumer, usdc("0.1"))
		if err != nil {
			g.t.Fatal(err)
		}
		holds = append(holds, h)
	}
	return holds
}

// charge charges holds, each on a goroutine of its own, and returns when all that can happen at this moment has.
func (g *gathering) charge(holds ...ports.Hold) {
	for _, h := range holds {
		go func() {
			if err := h.Charge(context.Background(), event(g.consumer)); err != nil {
				g.t.Error(err)
			}
		}()
	}
	synctest.Wait()
}

func (g *gathering) wantBatches(what string, want ...int) {
	g.t.Helper()
	if got := g.batches(); !slices.Equal(got, want) {
		g.t.Errorf("%s: batches of %v, want %v", what, got, want)
	}
}

func (g *gathering) end(calls int) {
	drain(g.t, g.charger)
	total, err := usdc("0.1").Times(int64(calls) + 1)
	if err != nil {
		g.t.Fatal(err)
	}
	g.wantSpent(g.consumer, total)
}

func TestALoneCallNeverWaitsForCompany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t, Durable, 0)
		for range 3 {
			g.charge(g.reserve(1)...)
			g.wantBatches("alone", 1)
		}
		stream := g.reserve(1)
		for range 3 {
			g.charge(g.reserve(1)...)
			g.wantBatches("beside a stream", 1)
		}
		g.charge(stream...)
		g.end(7)
	})
}

func TestADurableBatchGathersHalfOfTheCallsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t, Durable, 0)
		holds := g.reserve(16)
		g.charge(holds[:7]...)
		g.wantBatches("seven of sixteen")
		g.charge(holds[7])
		g.wantBatches("eight of sixteen", 8)
		g.charge(holds[8:]...)
		if got := g.batches(); len(got) == 0 || got[0] < 4 {
			t.Errorf("the other eight: batches of %v", got)
		}
		g.end(16)
	})
}

func TestADurableBatchWaitsBrieflyAndOnceForCallsThatDoNotCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t, Durable, 0)
		slow := g.reserve(20)
		g.charge(g.reserve(1)...)
		time.Sleep(2*time.Millisecond - 1)
		g.wantBatches("before its time")
		time.Sleep(time.Nanosecond)
		g.wantBatches("when its time is over", 1)
		for range 3 {
			g.charge(g.reserve(1)...)
			g.wantBatches("the twenty are not waited for again", 1)
		}
		for _, h := range slow {
			h.Release()
		}
		holds := g.reserve(8)
		g.charge(holds[:3]...)
		time.Sleep(2 * time.Millisecond)
		g.batches()
		g.charge(holds[3:]...)
		time.Sleep(2 * time.Millisecond)
		g.end(12)
	})
}

func TestCallsThatComeAgainAreWaitedForAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t, Durable, 0)
		holds := g.reserve(16)
		g.charge(holds[0])
		time.Sleep(2 * time.Millisecond)
		g.wantBatches("fifteen are late", 1)
		g.charge(holds[1:]...) // they come
		g.batches()
		holds = g.reserve(8)
		g.charge(holds[:3]...)
		g.wantBatches("three of eight")
		g.charge(holds[3:]...)
		time.Sleep(2 * time.Millisecond)
		g.end(24)
	})
}

func TestAnAsyncBatchTakesItsTimeUnderLoadToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t, Async, 5*time.Millisecond)
		const calls = 200
		for range calls { // one each millisecond; a batch begins to gather while the last is being stored
			if err := call(g.charger, g.consumer, money.FromStroops(1_000_000)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		got := g.batches()
		for _, n := range got[:len(got)-1] {
			if n < 19 || n > 26 {
				t.Errorf("batches of %v, want 20 milliseconds in each", got)
				break
			}
		}
		g.end(calls)
	})
}

func TestAShutdownDoesNotGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t, Async, 0)
		if err := call(g.charger, g.consumer, usdc("0.1")); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		g.end(1)
		if took := time.Since(start); took != 0 {
			t.Errorf("the end came after %s", took)
		}
	})
}
