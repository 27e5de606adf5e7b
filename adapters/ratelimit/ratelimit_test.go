package ratelimit

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/ports"
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

func TestAWholeLimitMayComeAtOnceThenItsRate(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	for i := range 3 {
		want := ports.Decision{Allowed: true, Limit: 3, Remaining: 2 - i, Reset: time.Duration(i+1) * 20 * time.Second}
		if got := l.Take("k", 3, time.Minute); got != want {
			t.Fatalf("event %d: %+v, want %+v", i, got, want)
		}
	}
	want := ports.Decision{Limit: 3, Reset: time.Minute, RetryAfter: 20 * time.Second}
	for range 5 { // refusals cost nothing
		if got := l.Take("k", 3, time.Minute); got != want {
			t.Fatalf("over the limit: %+v, want %+v", got, want)
		}
	}
	if !l.Take("other", 3, time.Minute).Allowed {
		t.Error("one key's events count for another")
	}
	c.advance(20*time.Second - 1)
	if l.Take("k", 3, time.Minute).Allowed {
		t.Error("too early")
	}
	c.advance(1)
	if !l.Take("k", 3, time.Minute).Allowed || l.Take("k", 3, time.Minute).Allowed {
		t.Error("after a third of the window, one event and no more may happen")
	}
	c.advance(time.Hour)
	if got := l.Take("k", 3, time.Minute); got.Remaining != 2 {
		t.Errorf("a long rest earns more or less than the limit: %+v", got)
	}
}

func TestALimitThatIsNotPositiveAdmitsNothing(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	if l.Take("k", 0, time.Minute).Allowed || l.Take("k", -1, time.Minute).Allowed || l.Take("k", 1, 0).Allowed || l.remembered() != 0 {
		t.Error("something was admitted or remembered")
	}
}

func TestALowerLimitHoldsAtOnce(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	for range 10 {
		l.Take("k", 10, time.Minute)
	}
	if got := l.Take("k", 2, time.Minute); got.Allowed || got.RetryAfter <= 0 {
		t.Errorf("a spent limit of 10 admits by a limit of 2: %+v", got)
	}
	if got := l.Take("k", 1000, time.Minute); got.Allowed {
		t.Errorf("a spent minute admits by a higher limit: %+v", got)
	}
}

// The model keeps GCRA's other face, a leaking bucket: each admitted event fills it by one step, time drains it.
func TestTakeAgreesWithALeakingBucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c clock
		l := New(c.now)
		limit := rapid.IntRange(1, 9).Draw(t, "limit")
		window := time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "window"))
		step := max(window/time.Duration(limit), 1)
		full := step * time.Duration(limit)
		var level time.Duration
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			rest := time.Duration(rapid.Int64Range(0, 3*int64(step)).Draw(t, "rest"))
			c.advance(rest)
			level = max(level-rest, 0)
			got := l.Take("k", limit, window)
			want := ports.Decision{Limit: limit, Reset: level}
			if level+step <= full {
				level += step
				want = ports.Decision{Allowed: true, Limit: limit, Remaining: int((full - level) / step), Reset: level}
			} else {
				want.RetryAfter = level + step - full
			}
			if got != want {
				t.Fatalf("%+v, want %+v", got, want)
			}
			if !got.Allowed {
				c.advance(got.RetryAfter)
				level = max(level-got.RetryAfter, 0)
				if !l.Take("k", limit, window).Allowed {
					t.Fatal("refused after RetryAfter")
				}
				level += step
			}
		}
	})
}

func TestManyAtOnceGetTheLimitExactly(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	const limit, keys = 500, 7
	var admitted [keys]atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 * keys {
				if l.Take(strconv.Itoa(i%keys), limit, time.Minute).Allowed {
					admitted[i%keys].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i := range admitted {
		if n := admitted[i].Load(); n != limit {
			t.Errorf("key %d: %d admitted, want %d", i, n, limit)
		}
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

func TestAnEventThatIsGivenBackDoesNotCount(t *testing.T) {
	t.Parallel()
	var c clock
	l := New(c.now)
	for range 100 {
		if !l.Take("k", 2, time.Minute).Allowed {
			t.Fatal("what was given back has counted")
		}
		l.Return("k", 2, time.Minute)
	}
	if got := l.Take("k", 2, time.Minute); got.Remaining != 1 {
		t.Errorf("%+v", got)
	}
	for range 5 { // more than was taken
		l.Return("k", 2, time.Minute)
	}
	l.Return("nobody", 2, time.Minute)
	l.Return("k", 0, time.Minute)
	if a, b, c := l.Take("k", 2, time.Minute), l.Take("k", 2, time.Minute), l.Take("k", 2, time.Minute); !a.Allowed || !b.Allowed || c.Allowed {
		t.Errorf("giving back earns more than the limit: %v %v %v", a, b, c)
	}
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
