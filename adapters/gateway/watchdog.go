package gateway

import (
	"context"
	"sync"
	"time"
)

// watchdog cancels a call on which the upstream makes no progress for a while. Long calls that move live; stalled ones end.
//
// Its clock stands while the call waits for its caller: those waits have deadlines of their own, on the connection. So of a
// stalled call either the one or the other decides, never both at the same moment (docs/decisions/0021).
type watchdog struct {
	ctx     context.Context
	cancel  context.CancelFunc
	timeout time.Duration

	mu       sync.Mutex
	timer    *time.Timer // nil when the call is not watched: not yet, or no longer
	waits    waiting     // for the caller: the timer runs while there is none
	timedOut bool
}

// waiting is for something that the caller is to do, as a bit.
type waiting int

const (
	toSend waiting = 1 << iota // the next piece of its request's body
	toTake                     // what has come of the answer
)

func (w *watchdog) start(parent context.Context, timeout time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timeout = timeout
	w.ctx, w.cancel = context.WithCancel(parent)
	w.timer = time.AfterFunc(timeout, w.expire)
}

func (w *watchdog) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timedOut = true
		w.cancel()
	}
}

// progress starts the clock anew, unless it stands or has run out.
func (w *watchdog) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil && w.waits == 0 && w.timer.Stop() {
		w.timer.Reset(w.timeout)
	}
}

// pause stops the clock for a wait. It is false when the clock has run out: the call is over, and nobody is waited for.
func (w *watchdog) pause(what waiting) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil || w.timedOut {
		return !w.timedOut
	}
	if w.waits == 0 && !w.timer.Stop() {
		w.timedOut = true // expire is about to say so
		return false
	}
	w.waits |= what
	return true
}

// resume ends a wait, if it was one, and starts the clock anew when none is left.
func (w *watchdog) resume(what waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits&what == 0 {
		return
	}
	if w.waits &^= what; w.timer != nil && w.waits == 0 {
		w.timer.Reset(w.timeout)
	}
}

// disarm ends the watch and lets the call live, for connections that may be silent.
func (w *watchdog) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// stop ends the watch and the call.
func (w *watchdog) stop() {
	w.disarm()
	if w.cancel != nil {
		w.cancel()
	}
}

func (w *watchdog) expired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.timedOut
}
