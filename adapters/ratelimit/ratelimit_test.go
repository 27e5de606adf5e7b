package ratelimit

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

var _ ports.Limiter = (*Limiter)(nil)

// clock is set by hand.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func (l *Limiter) remembered() (n int) {
	l.keys.Range(func(_, _ any) bool { n++; return true })
	return n
}

func TestTheLimiterKeepsTheContract(t *testing.T) {
	t.Parallel()
	portstest.LimiterContract(t, func(*testing.T) portstest.LimiterWorld {
		var c clock
		return portstest.LimiterWorld{Limiter: New(c.now), Advance: c.advance}
	})
}

func TestAtTheVeryMomentOneMoreIsAdmittedAndNotBefore(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	for range 3 {
		l.Take("k", 3, time.Minute)
	}
	c.advance(20*time.Second - 1)
	if l.Take("k", 3, time.Minute).Allowed {
		t.Error("too early")
	}
	c.advance(1)
	if !l.Take("k", 3, time.Minute).Allowed {
		t.Error("too late")
	}
}

func TestWhatIsNeverAdmittedIsNotRemembered(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	l.Take("k", 0, time.Minute)
	l.Take("k", 1, 0)
	if n := l.remembered(); n != 0 {
		t.Errorf("%d keys are remembered", n)
	}
}

// Sweeps run all the time here, also over the keys that are being counted.
func TestForgettingKeysAtRestLosesNoEvent(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	const limit = 100
	for round := range 20 {
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 200 {
					l.sweepAt.Store(0)
					l.Take(fmt.Sprint("passer-by ", i), limit, time.Minute)
					if l.Take("k", limit, time.Minute).Allowed {
						admitted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := admitted.Load(); n != limit {
			t.Fatalf("round %d: %d admitted, want %d", round, n, limit)
		}
		c.advance(time.Hour) // everybody is at rest again
	}
}

func TestKeysAtRestAreForgotten(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	for i := range 3 * sweepAfter {
		l.Take(strconv.Itoa(i), 1, time.Second)
		c.advance(time.Second)
	}
	if n := l.remembered(); n > sweepAfter {
		t.Errorf("%d keys are remembered", n)
	}
	for i := range 3 * sweepAfter { // busy keys stay, and are not looked at again and again
		l.Take(strconv.Itoa(i), 10, time.Hour)
	}
	if n := l.remembered(); n < 3*sweepAfter {
		t.Errorf("%d keys are remembered", n)
	}
}

func BenchmarkTake(b *testing.B) {
	l := New(time.Now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Take("ck_live_01234567", 600, time.Minute)
		}
	})
}

// A subscriber of a large IPv6 range has four billion /64s to come from.
func TestMadeUpKeysCostLittleMemoryAndFreeNobody(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	const limit, window = 10, time.Hour
	attacker, regular := "the address at its limit", "somebody with some calls left"
	for range limit {
		l.Take(attacker, limit, window)
	}
	for range limit / 2 {
		l.Take(regular, limit, window)
	}
	most := 0
	for i := range 3 * mostKeys {
		if !l.Take(strconv.Itoa(i), limit, window).Allowed {
			t.Fatalf("the newcomer %d pays for the others", i)
		}
		if i%1000 == 0 && l.Take(attacker, limit, window).Allowed {
			t.Fatalf("after %d keys the attacker is free", i)
		}
		if i%100_000 == 0 {
			most = max(most, l.remembered())
		}
	}
	if most = max(most, l.remembered()); most > mostKeys {
		t.Errorf("%d keys are remembered, want at most %d", most, mostKeys)
	}
	if got := l.Take(regular, limit, window); !got.Allowed || got.Remaining != limit/2-1 {
		t.Errorf("who had some calls left: %+v", got)
	}
}
