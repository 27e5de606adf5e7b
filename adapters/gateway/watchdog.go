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
	patience time.Duration
	bark     atomic.Bool
}

func (w *watchdog) start(parent context.Context, patience time.Duration) {
	w.patience = patience
	w.ctx, w.cancel = context.WithCancel(parent)
	w.timer = time.AfterFunc(patience, w.expire)
}

func (w *watchdog) expire() {
	w.bark.Store(true)
	w.cancel()
}

// progress starts the wait anew. A call that is not watched yet may make progress too.
func (w *watchdog) progress() {
	if w.timer != nil && w.timer.Stop() { // when it has already barked, it has
		w.timer.Reset(w.patience)
	}
}

// rest ends the watch and lets the call live, for connections that may be silent.
func (w *watchdog) rest() { w.timer.Stop() }

func (w *watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.cancel()
	}
}

func (w *watchdog) barked() bool { return w.bark.Load() }
