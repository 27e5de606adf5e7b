// Package ratelimit admits so many events of a key per window on this process, by the generic cell rate algorithm (GCRA,
// ITU-T I.371): one number per key, the theoretical arrival time of the next event.
package ratelimit

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	sweepAfter = 4096    // the least number of events between two looks for keys at rest
	mostKeys   = 1 << 17 // some 25 MB
)

// Limiter implements ports.Limiter. A whole limit may come at once; then events are admitted at the rate of the limit.
//
// It remembers about mostKeys keys, whoever makes up how many: beyond that, those that are nearest to rest are forgotten, half of
// them at a time. Each of those is forgiven no more than any that stays, so that many new keys do not free one that is at
// its limit, and a new key never suffers for others.
type Limiter struct {
	now     ports.Clock
	start   time.Time
	keys    sync.Map // string -> *cell
	events  atomic.Int64
	sweepAt atomic.Int64
}

// cell is a key's theoretical arrival time, in nanoseconds since the limiter's start. Up to now, the key is at rest.
type cell struct{ tat atomic.Int64 }

// swept marks a cell that is no longer in the table: whoever still has it must look again.
const swept = math.MinInt64

// New returns a limiter that remembers nobody.
func New(now ports.Clock) *Limiter {
	l := &Limiter{now: now, start: now()}
	l.sweepAt.Store(sweepAfter)
	return l
}

// Take implements ports.Limiter. A limit or window that is not positive admits nothing.
func (l *Limiter) Take(key string, limit int, window time.Duration) ports.Decision {
	if limit <= 0 || window <= 0 {
		return ports.Decision{RetryAfter: max(window, 0)}
	}
	now := int64(l.now().Sub(l.start)) // by the monotonic clock: setting the clock neither frees nor blocks anybody
	l.tidy(now)
	step := max(int64(window)/int64(limit), 1)
	burst := step * int64(limit)
	for {
		v, ok := l.keys.Load(key)
		if !ok {
			v, _ = l.keys.LoadOrStore(key, &cell{})
		}
		c := v.(*cell)
		tat := c.tat.Load()
		if tat == swept {
			l.keys.CompareAndDelete(key, v)
			continue
		}
		next := max(tat, now) + step
		if over := next - now - burst; over > 0 {
			return ports.Decision{Limit: limit, Reset: time.Duration(tat - now), RetryAfter: time.Duration(over)}
		}
		if c.tat.CompareAndSwap(tat, next) {
			return ports.Decision{
				Allowed: true, Limit: limit, Remaining: int((burst - (next - now)) / step), Reset: time.Duration(next - now),
			}
		}
	}
}

// Return implements ports.Limiter.
func (l *Limiter) Return(key string, limit int, window time.Duration) {
	v, ok := l.keys.Load(key)
	if !ok || limit <= 0 || window <= 0 {
		return // forgotten, so it has all of its limit
	}
	c := v.(*cell)
	for step := max(int64(window)/int64(limit), 1); ; {
		if tat := c.tat.Load(); tat == swept || c.tat.CompareAndSwap(tat, max(tat-step, 0)) {
			return
		}
	}
}

// tidy forgets keys at rest now and then; they are as good as new. It looks at no more keys than there were events since
// the last time, so that it costs an event the same whatever the number of keys.
func (l *Limiter) tidy(now int64) {
	events, due := l.events.Add(1), l.sweepAt.Load()
	if events < due || !l.sweepAt.CompareAndSwap(due, math.MaxInt64) {
		return
	}
	left := l.forget(now)
	if len(left) > mostKeys/2 {
		slices.Sort(left)
		left = l.forget(left[len(left)-mostKeys/2-1])
	}
	l.sweepAt.Store(events + max(sweepAfter, int64(len(left))))
}

// forget drops the keys that are at rest by a moment, and returns until when those that are left are not.
func (l *Limiter) forget(by int64) (left []int64) {
	l.keys.Range(func(key, v any) bool {
		c := v.(*cell)
		if tat := c.tat.Load(); tat <= by && c.tat.CompareAndSwap(tat, swept) {
			l.keys.CompareAndDelete(key, v)
		} else {
			left = append(left, tat)
		}
		return true
	})
	return left
}
