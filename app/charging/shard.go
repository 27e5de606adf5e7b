package charging

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pauses between attempts to store what could not be stored.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// shard is the only writer for its accounts: it stores whatever has gathered while the last batch was being stored
// (group commit). Two writers for one lease would wait for each other's row locks.
type shard struct {
	charger *Charger
	wake    chan struct{}         // there is something to do
	enough  chan struct{}         // and as much as a gathering waits for
	timer   *time.Timer           // of a gathering
	failed  atomic.Bool           // the last attempt failed
	trouble atomic.Pointer[error] // with this
	begun   atomic.Int64          // when the journal was asked, in the charger's time; 0 when it is not being asked

	open atomic.Int64 // calls in flight: reserved, and neither stored nor given up

	mu       sync.Mutex
	queue    []*entry
	first    time.Time       // when the queue's first came
	wanted   int             // how long the queue must be for a gathering to end; 0: there is none
	late     int             // calls in flight that did not come to the last one
	left     []*entry        // taken from the queue, perhaps not answered for
	moving   []kept          // leases to replace
	closed   bool            // takes nothing more
	stopping context.Context // set by drain
	stop     chan struct{}

	doubtful []*entry // their callers were told "not charged", and they are perhaps on disk
}

func newShard(t *Charger) *shard {
	s := &shard{
		charger: t, wake: make(chan struct{}, 1), enough: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), stop: make(chan struct{}),
	}
	s.timer.Stop()
	return s
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
	first, enough := len(s.queue) == 1, len(s.queue) == s.wanted
	if first {
		s.first = s.charger.now()
	}
	s.mu.Unlock()
	if first {
		s.nudge()
	}
	if enough {
		tell(s.enough)
	}
	return true
}

func (s *shard) nudge() { tell(s.wake) }

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *shard) take(most int) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) <= most {
		s.left, s.queue = s.queue, nil
		s.closed = s.stopping != nil && len(s.left) == 0
		return s.left
	}
	s.left = slices.Clone(s.queue[:most])
	s.queue, s.first = slices.Delete(s.queue, 0, most), s.charger.now()
	return s.left
}

// takeMore fills a batch that could not be stored, and keeps note of all that is not answered for.
func (s *shard) takeMore(batch []*entry) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(max(s.charger.cfg.BatchMax-len(batch), 0), len(s.queue))
	batch = slices.Concat(batch, s.queue[:n])
	s.queue = slices.Delete(s.queue, 0, n)
	s.left = slices.Concat(batch, s.doubtful)
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
	for stopping := false; !stopping; {
		select {
		case <-s.wake:
		case <-s.stop:
			stopping = true
		}
		for {
			s.replaceDue()
			s.gather()
			batch := s.take(s.charger.cfg.BatchMax)
			if len(batch) == 0 {
				break
			}
			s.store(batch)
		}
	}
}

// overdue reports whether the journal has been asked and has not answered in the time that a caller waits.
func (s *shard) overdue(now time.Time) bool {
	begun := s.begun.Load()
	return begun != 0 && now.Sub(s.charger.born)-time.Duration(begun) > s.charger.cfg.CommitTimeout
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
