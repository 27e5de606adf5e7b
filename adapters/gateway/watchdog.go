package gateway

import (
	"context"
	"sync/atomic"
	"time"
)

// watchdog cancels a call that makes no progress for a while. Long calls that move live; stalled ones end.
type watchdog struct {
	ctx      context.Context
	cancel   context.CancelFunc
	timer    *time.Timer
	timeout  time.Duration
	timedOut atomic.Bool
}

func (w *watchdog) start(parent context.Context, timeout time.Duration) {
	w.timeout = timeout
	w.ctx, w.cancel = context.WithCancel(parent)
	w.timer = time.AfterFunc(timeout, w.expire)
}

func (w *watchdog) expire() {
	w.timedOut.Store(true)
	w.cancel()
}

// progress starts the wait anew. A call that is not watched yet may make progress too.
func (w *watchdog) progress() {
	if w.timer != nil && w.timer.Stop() { // an expired one stays expired
		w.timer.Reset(w.timeout)
	}
}

// pause stops the clock while nothing is asked of the upstream, resume starts it anew.
func (w *watchdog) pause() { w.timer.Stop() }

func (w *watchdog) resume() {
	if !w.expired() {
		w.timer.Reset(w.timeout)
	}
}

// disarm ends the watch and lets the call live, for connections that may be silent.
func (w *watchdog) disarm() { w.timer.Stop() }

func (w *watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.cancel()
	}
}

func (w *watchdog) expired() bool { return w.timedOut.Load() }
