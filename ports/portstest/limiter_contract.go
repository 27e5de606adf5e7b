package portstest

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

// LimiterWorld is a limiter under test.
type LimiterWorld struct {
	Limiter ports.Limiter
	Other   ports.Limiter         // another node with the same store; nil: there is none
	Advance func(d time.Duration) // moves the limiter's clock, by whole microseconds
	Passed  func() time.Duration  // how much time has passed by itself since the world was opened; nil: the clock is set by hand
}

// LimiterContract holds a limiter to what the port promises.
func LimiterContract(t *testing.T, open func(t *testing.T) LimiterWorld) {
	for name, holds := range map[string]func(*testing.T, LimiterWorld){
		"a whole limit may come at once, then its rate":     limitAtOnceThenRate,
		"a limit that is not positive admits nothing":       limitNotPositive,
		"a lower limit holds at once":                       limitLowered,
		"no limit loses precision":                          limitPrecision,
		"many at once get the limit exactly":                limitManyAtOnce,
		"an event that is given back does not count":        limitGivenBack,
		"many at once may take and give back":               limitTakenAndGivenBack,
		"every decision agrees with that of a leaky bucket": limitAgreesWithABucket,
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			if w.Other == nil {
				w.Other = w.Limiter
			}
			holds(t, w)
		})
	}
}

// matches compares decisions; where time passes by itself, waits may be shorter than wanted by what has passed.
func (w LimiterWorld) matches(got, want ports.Decision) bool {
	passed := time.Duration(0)
	if w.Passed != nil {
		passed = w.Passed()
	}
	near := func(got, want time.Duration) bool { return got <= want && got >= want-passed }
	return got.Allowed == want.Allowed && got.Limit == want.Limit && got.Remaining == want.Remaining &&
		near(got.Reset, want.Reset) && near(got.RetryAfter, want.RetryAfter)
}

func limitAtOnceThenRate(t *testing.T, w LimiterWorld) {
	const third = 20 * time.Minute
	for i, node := range []ports.Limiter{w.Limiter, w.Other, w.Limiter} {
		want := ports.Decision{Allowed: true, Limit: 3, Remaining: 2 - i, Reset: time.Duration(i+1) * third}
		if got := node.Take("k", 3, 3*third); !w.matches(got, want) {
			t.Fatalf("event %d: %+v, want %+v", i, got, want)
		}
	}
	want := ports.Decision{Limit: 3, Reset: 3 * third, RetryAfter: third}
	for range 5 { // refusals cost nothing
		if got := w.Limiter.Take("k", 3, 3*third); !w.matches(got, want) {
			t.Fatalf("over the limit: %+v, want %+v", got, want)
		}
	}
	if !w.Limiter.Take("other", 3, 3*third).Allowed {
		t.Error("one key's events count for another")
	}
	w.Advance(third - 5*time.Minute)
	if w.Other.Take("k", 3, 3*third).Allowed {
		t.Error("too early")
	}
	w.Advance(5 * time.Minute)
	if !w.Other.Take("k", 3, 3*third).Allowed || w.Limiter.Take("k", 3, 3*third).Allowed {
		t.Error("after a third of the window, one event and no more may happen")
	}
	w.Advance(24 * time.Hour)
	if got := w.Limiter.Take("k", 3, 3*third); got.Remaining != 2 {
		t.Errorf("a long rest earns more or less than the limit: %+v", got)
	}
}

func limitNotPositive(t *testing.T, w LimiterWorld) {
	for _, l := range []int{0, -1} {
		if got, want := w.Limiter.Take("k", l, time.Minute), (ports.Decision{RetryAfter: time.Minute}); got != want {
			t.Errorf("limit %d: %+v, want %+v", l, got, want)
		}
		w.Limiter.Return("k", l, time.Minute)
	}
	if got := w.Limiter.Take("k", 1, 0); got != (ports.Decision{}) {
		t.Errorf("without a window: %+v", got)
	}
	w.Limiter.Return("k", 1, -time.Minute)
	if !w.Limiter.Take("k", 1, time.Hour).Allowed {
		t.Error("what was not admitted has counted")
	}
}

func limitLowered(t *testing.T, w LimiterWorld) {
	for range 10 {
		w.Limiter.Take("k", 10, time.Hour)
	}
	if got := w.Other.Take("k", 2, time.Hour); got.Allowed || got.RetryAfter <= 0 {
		t.Errorf("a spent limit of 10 admits by a limit of 2: %+v", got)
	}
	if got := w.Other.Take("k", 10, time.Hour); got.Allowed {
		t.Errorf("a spent limit is free after a refusal: %+v", got)
	}
}

// The step of a limit of 10^10 an hour is 360 ns. A store that counts in microseconds, or in a number that holds too few
// digits of the time since 1970, gets these wrong.
func limitPrecision(t *testing.T, w LimiterWorld) {
	for _, limit := range []int{1, 7, 599, 999_983, 100_000_007, 1<<31 - 1, 10_000_000_000} {
		key, step := strconv.Itoa(limit), time.Hour/time.Duration(limit)
		passed := time.Duration(0)
		for i := range 3 {
			got := w.Limiter.Take(key, limit, time.Hour)
			if i >= limit {
				continue
			}
			want := time.Duration(i+1) * step
			if w.Passed != nil {
				passed = w.Passed()
			}
			if !got.Allowed || got.Limit != limit || got.Reset > want || got.Reset < max(want-passed, step) {
				t.Errorf("event %d by a limit of %d: %+v, want a reset of %v", i, limit, got, want)
			}
			if left := (step*time.Duration(limit) - got.Reset) / step; got.Remaining != int(left) {
				t.Errorf("event %d by a limit of %d: %+v, want %d remaining", i, limit, got, left)
			}
		}
	}
}

// Nothing flows back meanwhile: an event of a limit of 100 a day takes a quarter of an hour.
func limitManyAtOnce(t *testing.T, w LimiterWorld) {
	const limit, keys = 100, 5
	var admitted [keys]atomic.Int64
	var wg sync.WaitGroup
	for n := range 16 {
		node := []ports.Limiter{w.Limiter, w.Other}[n%2]
		wg.Go(func() {
			for i := range 40 * keys {
				if node.Take(strconv.Itoa(i%keys), limit, 24*time.Hour).Allowed {
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

func limitGivenBack(t *testing.T, w LimiterWorld) {
	for range 50 {
		if !w.Limiter.Take("k", 2, time.Hour).Allowed {
			t.Fatal("what was given back has counted")
		}
		w.Other.Return("k", 2, time.Hour)
	}
	if got := w.Limiter.Take("k", 2, time.Hour); got.Remaining != 1 {
		t.Errorf("%+v", got)
	}
	for range 5 { // more than was taken
		w.Limiter.Return("k", 2, time.Hour)
	}
	w.Limiter.Return("nobody", 2, time.Hour)
	w.Limiter.Return("k", 0, time.Hour)
	if a, b, c := w.Limiter.Take("k", 2, time.Hour), w.Other.Take("k", 2, time.Hour), w.Limiter.Take("k", 2, time.Hour); !a.Allowed || !b.Allowed || c.Allowed {
		t.Errorf("giving back earns more than the limit: %v %v %v", a, b, c)
	}
	w.Limiter.Return("k", 2, time.Hour) // one of two
	if a, b := w.Limiter.Take("k", 2, time.Hour), w.Other.Take("k", 2, time.Hour); !a.Allowed || b.Allowed {
		t.Errorf("giving back one of two admits not one: %v %v", a, b)
	}
}

// Whoever is admitted gives back, so that no more than the limit are inside at any time.
func limitTakenAndGivenBack(t *testing.T, w LimiterWorld) {
	const limit = 4
	var inside, admitted atomic.Int64
	var wg sync.WaitGroup
	for n := range 12 {
		node := []ports.Limiter{w.Limiter, w.Other}[n%2]
		wg.Go(func() {
			for range 50 {
				if !node.Take("k", limit, 24*time.Hour).Allowed {
					continue
				}
				admitted.Add(1)
				if n := inside.Add(1); n > limit {
					t.Errorf("%d are inside", n)
				}
				inside.Add(-1)
				node.Return("k", limit, 24*time.Hour)
			}
		})
	}
	wg.Wait()
	if admitted.Load() <= limit {
		t.Errorf("only %d were admitted", admitted.Load())
	}
	for i := range limit + 1 {
		if got := w.Limiter.Take("k", limit, 24*time.Hour); got.Allowed != (i < limit) {
			t.Errorf("after all have been given back, event %d: %+v", i, got)
		}
	}
}

// The bucket is GCRA's other face: each admitted event fills it by one step, time drains it.
func limitAgreesWithABucket(t *testing.T, w LimiterWorld) {
	if w.Passed != nil {
		return // two clocks that run would not agree to the nanosecond
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		key := fmt.Sprint("bucket ", n)
		limit := rapid.IntRange(1, 9).Draw(t, "limit")
		window := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "window"))
		step := max(window/time.Duration(limit), 1)
		full := step * time.Duration(limit)
		var level time.Duration
		rests := func(d time.Duration) {
			d = (d + time.Microsecond - 1).Truncate(time.Microsecond)
			w.Advance(d)
			level = max(level-d, 0)
		}
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			rests(time.Duration(rapid.Int64Range(0, 3*int64(step)).Draw(t, "rest")))
			if back := rapid.IntRange(0, 9).Draw(t, "back"); back == 0 {
				w.Other.Return(key, limit, window)
				level = max(level-step, 0)
			}
			got := w.Limiter.Take(key, limit, window)
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
				rests(got.RetryAfter)
				if !w.Other.Take(key, limit, window).Allowed {
					t.Fatal("refused after RetryAfter")
				}
				level += step
			}
		}
	})
}
