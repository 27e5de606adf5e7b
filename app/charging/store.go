package charging

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// store returns when every entry of the batch is answered for: recorded, or certain not to be. No money is free again
// while its record is in doubt.
func (s *shard) store(batch []*entry) {
	for wait := firstPause; ; {
		batch = s.setAside(batch)
		err := s.void()
		if err == nil {
			batch, err = s.append(batch)
		}
		switch {
		case err != nil:
		case len(batch) > 0 || len(s.doubtful) > 0:
			continue
		default:
			s.failed.Store(false)
			return
		}
		s.trouble.Store(&err)
		s.failed.Store(true)
		if batch = s.takeMore(batch); s.outOfTime() {
			s.abandon(slices.Concat(batch, s.doubtful), err)
			s.doubtful = nil
			return
		}
		s.pause(wait + rand.N(wait))
		wait = min(2*wait, lastPause)
	}
}

// setAside takes out those whose callers gave up. What was never sent is certain not to be on disk; the rest is doubtful.
func (s *shard) setAside(batch []*entry) []*entry {
	if !slices.ContainsFunc(batch, (*entry).gaveUp) {
		return batch
	}
	rest := make([]*entry, 0, len(batch))
	for _, n := range batch {
		switch {
		case !n.gaveUp():
			rest = append(rest, n)
		case n.sent:
			s.doubtful = append(s.doubtful, n)
		default:
			s.end(n, id.ID{}, nil)
		}
	}
	return rest
}

// ask gives the journal the time that a caller waits, and keeps note of how long it takes.
func (s *shard) ask(ask func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(s.charger.life, s.charger.cfg.CommitTimeout)
	defer cancel()
	s.begun.Store(int64(s.charger.now().Sub(s.charger.born)) + 1)
	ask(ctx)
	s.begun.Store(0)
}

// append stores a batch and answers for it. What could neither be stored nor be ruled out comes back with the error; what was
// sent with a lease that has been replaced comes back without one, to be sent again. A
// batch that the store refuses for good is halved until the record it refuses is alone.
func (s *shard) append(batch []*entry) ([]*entry, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	outcomes, err := s.send(batch)
	switch {
	case err == nil:
		var again []*entry
		for i, n := range batch {
			if outcomes[i] == ports.Fenced && n.hold.lease != nil && !n.hold.lease.successor.IsZero() {
				again = append(again, n)
				continue
			}
			s.answer(n, outcomes[i])
		}
		return again, s.succession(again)
	case errors.Is(err, ports.ErrRejected) && len(batch) > 1:
		mid := len(batch) / 2
		rest, err := s.append(batch[:mid])
		if err != nil {
			return slices.Concat(rest, batch[mid:]), err
		}
		more, err := s.append(batch[mid:])
		return slices.Concat(rest, more), err
	case errors.Is(err, ports.ErrRejected):
		s.incident("a usage record was refused by the store; the call was not charged", err, batch)
		batch[0].decide()
		s.end(batch[0], id.ID{}, usage.ErrNotRecorded.Because(err))
		return nil, nil
	}
	return batch, err
}

func (s *shard) send(batch []*entry) (outcomes []ports.RecordOutcome, err error) {
	records := make([]usage.Record, len(batch))
	for i, n := range batch {
		n.address()
		n.sent = true
		records[i] = n.rec
	}
	start := s.charger.now()
	s.ask(func(ctx context.Context) { outcomes, err = s.charger.journal.Append(ctx, records) })
	if s.charger.cfg.ObserveBatch != nil {
		s.charger.cfg.ObserveBatch(len(batch), s.charger.now().Sub(start), err)
	}
	return outcomes, err
}

// answer tells a caller what became of its record. One who has given up meanwhile was told that it is not charged, and so it
// has to be.
func (s *shard) answer(n *entry, o ports.RecordOutcome) {
	recorded := o == ports.Recorded || o == ports.Duplicate
	if recorded && !n.decide() {
		s.doubtful = append(s.doubtful, n)
		return
	}
	switch o {
	case ports.Recorded:
		s.end(n, n.rec.LeaseID, nil)
	case ports.Duplicate: // paid by another lease, perhaps by one that this one succeeds
		s.end(n, anotherLease, nil)
	case ports.ClaimLost:
		n.decide()
		s.end(n, id.ID{}, usage.ErrNotRecorded)
	default:
		if n.hold.lease != nil {
			n.hold.account.lose(n.hold.lease)
		}
		if n.answer == nil {
			s.incident("a charge came after its lease had ended and was dropped", nil, []*entry{n})
		}
		n.decide()
		s.end(n, id.ID{}, usage.ErrNotRecorded)
	}
}

// anotherLease stands for a lease that is none of this node's view of the hold.
var anotherLease = id.ID{0xff}

// end finishes an entry's hold, see hold.finish, and tells its caller, if one waits.
func (s *shard) end(n *entry, payer id.ID, err error) {
	n.hold.finish(payer)
	s.charger.queued.Add(-1)
	if n.state.Load() == answered {
		n.answer <- err
	}
}

// void makes sure that what was given up is not charged.
func (s *shard) void() error {
	if len(s.doubtful) == 0 {
		return nil
	}
	records := make([]usage.Record, 0, len(s.doubtful))
	for _, n := range s.doubtful {
		records = append(append(records, n.rec), n.earlier...)
	}
	var kept []id.ID
	var err error
	s.ask(func(ctx context.Context) { kept, err = s.charger.journal.Void(ctx, records) })
	if err != nil {
		return err
	}
	var wrong []*entry
	for _, n := range s.doubtful {
		if l := n.hold.lease; l != nil && l.id == n.rec.LeaseID {
			l.epoch = max(l.epoch, n.rec.Epoch+1)
		}
		if slices.Contains(kept, n.rec.ID) {
			wrong = append(wrong, n)
		}
		s.end(n, id.ID{}, nil) // what was booked was paid by a lease that has ended
	}
	s.doubtful = nil
	if len(wrong) > 0 {
		s.incident("calls were told that they are not charged, and are: they had been booked as revenue before they could be voided",
			nil, wrong)
	}
	return nil
}

// abandon ends the shard's work with entries left, at a shutdown without a database. Their money stays set aside until the
// database ends their leases.
func (s *shard) abandon(left []*entry, cause error) {
	s.incident("shutdown: charges could not be stored; their leases expire in the buyers' favour", cause, left)
	for _, n := range left {
		n.decide()
		s.end(n, n.rec.LeaseID, usage.ErrNotRecorded.Because(cause))
	}
}

// reportLeft says, in place of a shard whose journal does not come back, what it has not answered for.
func (s *shard) reportLeft() {
	s.mu.Lock()
	left := slices.Concat(s.left, s.queue)
	s.mu.Unlock()
	if len(left) > 0 {
		s.incident("shutdown: the database does not answer; whether these calls are charged is unknown", nil, left)
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
