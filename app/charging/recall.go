package charging

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Pauses between grants that are asked for again while other nodes give money back.
const (
	firstAskAgain = 10 * time.Millisecond
	lastAskAgain  = 100 * time.Millisecond
)

// recalls are the consumers whose idle money is wanted back, and what came of all recalls so far.
type recalls struct {
	mu        sync.Mutex
	consumers map[id.ID]struct{}
	some      chan struct{} // holds a value when there are any

	sent, heard, stroops, served, refused atomic.Int64 // see Stats
}

func (r *recalls) add(consumer id.ID) {
	r.mu.Lock()
	if r.consumers == nil {
		r.consumers = map[id.ID]struct{}{}
	}
	r.consumers[consumer] = struct{}{}
	r.mu.Unlock()
	select {
	case r.some <- struct{}{}:
	default:
	}
}

func (r *recalls) take() map[id.ID]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.consumers
	r.consumers = nil
	return due
}

// Heed takes recalls from what a ports.ChangeFeed reports: soon, this node gives back what it has leased of those consumers' vaults
// and its calls in flight do not need. It does not wait for that.
func (t *Charger) Heed(changes []ports.Change) {
	for _, c := range changes {
		if c.Kind != ports.Recalled {
			continue
		}
		consumer, err := id.Parse(c.Subject)
		if err != nil {
			continue // no user, so nobody's money
		}
		t.recalls.heard.Add(1)
		if _, ok := t.accounts.Load(consumer); ok {
			t.recalls.add(consumer)
		}
	}
}

// giveRecalled gives back, in one statement, what is idle of all recalled money. A call that comes to one of those vaults meanwhile
// gives the same back with its grant, so that it waits for this, and does not find the vault short of what is on its way.
func (t *Charger) giveRecalled(ctx context.Context) error {
	now := t.now()
	vaults := 0
	var spare []part
	for consumer := range t.recalls.take() {
		a, ok := t.accounts.Load(consumer)
		if !ok {
			continue
		}
		if parts := a.(*account).recall(now); len(parts) > 0 {
			vaults++
			spare = append(spare, parts...)
		}
	}
	back, err := t.giveBack(ctx, spare)
	if err != nil || back == 0 {
		return err
	}
	t.recalls.stroops.Add(back)
	if t.cfg.GaveBack != nil {
		t.cfg.GaveBack(vaults, money.FromStroops(back))
	}
	return nil
}

// recall takes the current lease out of service and returns what is idle of all.
func (a *account) recall(now time.Time) (spare []part) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refilling { // what the grant under way brings may be idle in a moment
		a.recalled = true
		return nil
	}
	if a.current != nil {
		a.retire(a.current, now)
	}
	for _, p := range a.spare() {
		spare = append(spare, part{a, p})
	}
	return spare
}

// awaits reports whether a call that the vault is short for waits for money from other nodes. At a shutdown none does. The caller
// holds the mutex.
func (a *account) awaits(w *waiter, refusal error, now time.Time) bool {
	if !errors.Is(refusal, vault.ErrHeld) || a.charger.closed.Load() {
		return false
	}
	if w.until.IsZero() {
		w.until = now.Add(a.charger.cfg.RecallWait)
	}
	return now.Before(w.until)
}

// waited counts a call that has waited for money from other nodes.
func (r *recalls) waited(w *waiter, served bool) {
	switch {
	case w.until.IsZero():
	case served:
		r.served.Add(1)
	default:
		r.refused.Add(1)
	}
}

// pauseForRecall waits before a grant is asked for again.
func (t *Charger) pauseForRecall(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.life.Done():
	}
}
