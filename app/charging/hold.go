package charging

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// hold is one call's reservation.
type hold struct {
	account *account
	lease   *lease // nil for a free call
	price   int64
	ended   atomic.Bool
}

// Charge implements ports.Hold.
func (h *hold) Charge(_ context.Context, e usage.Event) error {
	if h.ended.Swap(true) {
		return errEnded
	}
	e.Amount = money.FromStroops(h.price)
	t := h.account.charger
	n := &entry{hold: h, rec: usage.Record{Event: e}}
	if t.cfg.Mode == Async && e.IdempotencyKey == "" && !t.behind() {
		return h.push(n)
	}
	c := t.callers.Get().(*caller)
	defer t.callers.Put(c)
	n.answer = c.answer
	n.state.Store(waiting)
	if err := h.push(n); err != nil {
		return err
	}
	return c.wait(n)
}

// push hands the charge to its shard, which owns n from here on.
func (h *hold) push(n *entry) error {
	if h.account.shard.push(n) {
		return nil
	}
	h.finish(id.ID{})
	return usage.ErrNotRecorded
}

// Release implements ports.Hold.
func (h *hold) Release() {
	if !h.ended.Swap(true) {
		h.finish(id.ID{})
	}
}

// finish ends the hold, which was charged to the lease payer; the zero id: not at all.
func (h *hold) finish(payer id.ID) {
	h.account.shard.open.Add(-1)
	if h.lease != nil {
		h.account.finish(h.lease, h.price, payer)
	}
}

// entry is a record on its way to the journal.
type entry struct {
	rec     usage.Record
	hold    *hold
	state   atomic.Int32   // who waits for it; see below
	answer  chan error     // to the caller
	sent    bool           // to the journal, perhaps without an answer
	earlier []usage.Record // as it was sent with leases that have been replaced since
}

// address names the lease that the record is sent with: the one its hold is on by now.
func (n *entry) address() {
	l := n.hold.lease
	if l == nil {
		return
	}
	if n.sent && n.rec.LeaseID != l.id {
		n.earlier = append(n.earlier, n.rec)
	}
	n.rec.LeaseID, n.rec.Epoch = l.id, l.epoch
}

// The states of an entry. A caller who waits is either answered or gives up, never both: whoever changes the state first
// decides.
const (
	nobody   = iota // nobody waits
	waiting         // its caller waits, for as long as it cares to
	answered        // its caller is told what became of it
	givenUp         // its caller was told that it is not charged
)

// decide reports whether the entry's fate is still the shard's to tell. If not, its caller was told that it is not charged.
func (n *entry) decide() bool {
	return n.state.Load() == nobody || n.state.CompareAndSwap(waiting, answered)
}

func (n *entry) gaveUp() bool { return n.state.Load() == givenUp }

// caller waits for the answer to one charge at a time. Its timer is its own: what it waits for is bounded whatever
// hangs behind the journal.
type caller struct {
	answer chan error // buffered, so that answering never blocks
	timer  *time.Timer
}

func newCaller() *caller {
	c := &caller{answer: make(chan error, 1), timer: time.NewTimer(time.Hour)}
	c.timer.Stop()
	return c
}

func (c *caller) wait(n *entry) error {
	shard := n.hold.account.shard
	most := shard.charger.cfg.CommitTimeout
	c.timer.Reset(most)
	defer c.timer.Stop()
	select {
	case err := <-c.answer:
		return err
	case <-c.timer.C:
	}
	if !n.state.CompareAndSwap(waiting, givenUp) {
		return <-c.answer // it came at this very moment
	}
	cause := fmt.Errorf("it was not on disk within %s", most)
	if trouble := shard.trouble.Load(); trouble != nil {
		cause = fmt.Errorf("%w; the last attempt: %w", cause, *trouble)
	}
	return usage.ErrNotRecorded.Because(cause)
}
