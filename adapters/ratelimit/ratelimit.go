// Package ratelimit admits so many events of a key per window on this process, by the generic cell rate algorithm (GCRA,
// ITU-T I.371): one number per key, the theoretical arrival time of the next event.
package ratelimit

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
)

const sweepEvery = 4096 // events between two looks for keys at rest

// Limiter implements ports.Limiter. A whole limit may come at once; then events are admitted at the rate of the limit.
type Limiter struct {
	now    ports.Clock
	keys   sync.Map // string -> *cell
	events atomic.Uint64
}

// cell is a key's theoretical arrival time, in Unix nanoseconds. Below now, the key is at rest.
type cell struct{ tat atomic.Int64 }

// New returns a limiter that remembers nobody.
func New(now ports.Clock) *Limiter { return &Limiter{now: now} }

// Take implements ports.Limiter. A limit or window that is not positive admits nothing.
func (l *Limiter) Take(key string, limit int, window time.Duration) ports.Decision {
	if limit <= 0 || window <= 0 {
		return ports.Decision{RetryAfter: max(window, 0)}
	}
	now := l.now().UnixNano()
	if l.events.Add(1)%sweepEvery == 0 {
		l.sweep(now)
	}
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

// swept marks a cell that is no longer in the table: whoever still has it must look again.
const swept = -1

// sweep forgets keys at rest; they are as new.
func (l *Limiter) sweep(now int64) {
	l.keys.Range(func(key, v any) bool {
		c := v.(*cell)
		if tat := c.tat.Load(); tat < now && c.tat.CompareAndSwap(tat, swept) {
			l.keys.CompareAndDelete(key, v)
		}
		return true
	})
}
