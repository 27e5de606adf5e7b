package charging

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Pauses between attempts to store what could not be stored.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// entry is a record on its way to the journal.
type entry struct {
	rec    usage.Record
	hold   *hold
	answer chan error // nil when nobody waits
	due    time.Time  // when the caller stops waiting
}

// shard is the only writer for its accounts: it stores whatever has gathered while the last batch was being stored
// (group commit). Two writers for one lease would wait for each other's row locks.
type shard struct {
	charger *Charger
	wake    chan struct{}
	failing atomic.Bool

	mu       sync.Mutex
	queue    []*entry
	closed   bool            // takes nothing more
	stopping context.Context // set by drain
	stop     chan struct{}
}

func newShard(t *Charger) *shard {
	return &shard{charger: t, wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// push hands an entry over; false when the shard has stopped.
func (s *shard) push(n *entry) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.charger.queued.Add(1)
	s.queue = append(s.queue, n)
	first := len(s.queue) == 1
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return true
}

func (s *shard) take(most int) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) <= most {
		batch := s.queue
		s.queue = nil
		s.closed = s.stopping != nil && len(batch) == 0
		return batch
	}
	batch := slices.Clone(s.queue[:most])
	s.queue = slices.Delete(s.queue, 0, most)
	return batch
}

// drain asks the shard to store what it has and to stop, by the end of ctx.
func (s *shard) drain(ctx context.Context) {
	s.mu.Lock()
	s.stopping = ctx
	s.mu.Unlock()
	close(s.stop)
}

func (s *shard) run() {
	last := 0 // records of the last batch
	for stopping := false; !stopping; {
		select {
		case <-s.wake:
			if linger := s.linger(last); linger > 0 {
				s.pause(linger)
			}
		case <-s.stop:
			stopping = true
		}
		for batch := s.take(s.charger.cfg.BatchMax); len(batch) > 0; batch = s.take(s.charger.cfg.BatchMax) {
			last = len(batch)
			s.store(batch)
		}
	}
}

// linger is how long a batch waits for company. In durable mode calls wait for it, so a caller who comes alone, after a
// batch of one, does not.
func (s *shard) linger(last int) time.Duration {
	switch {
	case s.charger.cfg.Mode == Async:
		return s.charger.cfg.AsyncFlush
	case last > 1:
		return s.charger.cfg.DurableWait
	}
	return 0
}

// store returns when every entry of the batch is answered for: recorded, or certain not to be.
func (s *shard) store(batch []*entry) {
	var doubtful []*entry // told "not charged"; whether they were stored is unknown
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		var err error
		if doubtful, err = s.void(doubtful); err == nil {
			batch, err = s.append(batch)
		}
		if err == nil {
			s.failing.Store(false)
			return
		}
		s.failing.Store(true)
		batch = append(batch, s.take(s.charger.cfg.BatchMax-min(len(batch), s.charger.cfg.BatchMax))...)
		batch, doubtful = s.giveUp(batch, doubtful, err)
		if s.outOfTime() {
			s.abandon(append(batch, doubtful...), err)
			return
		}
		s.pause(wait + rand.N(wait))
	}
}

// append stores a batch and answers for it. What could neither be stored nor be ruled out comes back with the error. A
// batch that the store refuses for good is halved until the record it refuses is alone.
func (s *shard) append(batch []*entry) ([]*entry, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	records := make([]usage.Record, len(batch))
	for i, n := range batch {
		if n.hold.lease != nil {
			n.rec.Epoch = n.hold.lease.epoch
		}
		records[i] = n.rec
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.charger.cfg.CommitTimeout)
	defer cancel()
	start := s.charger.now()
	outcomes, err := s.charger.journal.Append(ctx, records)
	if s.charger.cfg.ObserveBatch != nil {
		s.charger.cfg.ObserveBatch(len(batch), s.charger.now().Sub(start), err)
	}
	switch {
	case err == nil:
		for i, n := range batch {
			s.answer(n, outcomes[i])
		}
		return nil, nil
	case errors.Is(err, ports.ErrRejected) && len(batch) > 1:
		mid := len(batch) / 2
		if rest, err := s.append(batch[:mid]); err != nil {
			return append(slices.Clone(rest), batch[mid:]...), err
		}
		return s.append(batch[mid:])
	case errors.Is(err, ports.ErrRejected):
		s.incident("a usage record was refused by the store; the call was not charged", err, batch)
		s.end(batch[0], false, usage.ErrNotRecorded.Because(err))
		return nil, nil
	}
	return batch, err
}

func (s *shard) answer(n *entry, o ports.RecordOutcome) {
	switch o {
	case ports.Recorded:
		s.end(n, true, nil)
	case ports.Duplicate:
		s.end(n, false, nil)
	default:
		if n.hold.lease != nil {
			n.hold.account.lose(n.hold.lease)
		}
		if n.answer == nil {
			s.incident("a charge came after its lease had ended and was dropped", nil, []*entry{n})
		}
		s.end(n, false, usage.ErrNotRecorded)
	}
}

// end settles an entry's money and tells its caller.
func (s *shard) end(n *entry, charged bool, err error) {
	n.hold.finish(charged)
	s.charger.queued.Add(-1)
	if n.answer != nil {
		n.answer <- err
		n.answer = nil
	}
}

// giveUp tells callers who have waited long enough that they are not charged, which makes their records doubtful: they may
// be on disk all the same.
func (s *shard) giveUp(batch, doubtful []*entry, cause error) (rest, doubt []*entry) {
	now := s.charger.now()
	rest = batch[:0]
	for _, n := range batch {
		if n.answer == nil || now.Before(n.due) {
			rest = append(rest, n)
			continue
		}
		n.answer <- usage.ErrNotRecorded.Because(cause)
		n.answer = nil
		doubtful = append(doubtful, n)
	}
	return rest, doubtful
}

// void makes sure that what was given up is not charged.
func (s *shard) void(doubtful []*entry) ([]*entry, error) {
	if len(doubtful) == 0 {
		return nil, nil
	}
	records := make([]usage.Record, len(doubtful))
	for i, n := range doubtful {
		records[i] = n.rec
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.charger.cfg.CommitTimeout)
	defer cancel()
	kept, err := s.charger.journal.Void(ctx, records)
	if err != nil {
		return doubtful, err
	}
	var wrong []*entry
	for _, n := range doubtful {
		if l := n.hold.lease; l != nil {
			l.epoch = max(l.epoch, n.rec.Epoch+1)
		}
		charged := slices.Contains(kept, n.rec.ID)
		if charged {
			wrong = append(wrong, n)
		}
		s.end(n, charged, nil)
	}
	if len(wrong) > 0 {
		s.incident("calls were told that they are not charged, and are: they had been booked as revenue before they could be voided",
			nil, wrong)
	}
	return nil, nil
}

// abandon ends the shard's work with entries left, at a shutdown without a database.
func (s *shard) abandon(left []*entry, cause error) {
	s.incident("shutdown: charges could not be stored; their leases expire in the buyers' favour", cause, left)
	for _, n := range left {
		s.end(n, true, usage.ErrNotRecorded.Because(cause)) // true: the money stays set aside until the database ends the lease
	}
}

func (s *shard) incident(message string, cause error, entries []*entry) {
	if s.charger.cfg.Incident == nil {
		return
	}
	events := make([]id.ID, len(entries))
	for i, n := range entries {
		events[i] = n.rec.ID
	}
	s.charger.cfg.Incident(Incident{Message: message, Cause: cause, Events: events})
}

func (s *shard) outOfTime() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping != nil && s.stopping.Err() != nil
}

// pause waits, shorter when the shard is asked to stop: at a shutdown every moment counts.
func (s *shard) pause(d time.Duration) {
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	if stopping == nil {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.stop:
		}
		return
	}
	timer := time.NewTimer(min(d, 10*firstPause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stopping.Done():
	}
}
