package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	defaultClaimLease = 30 * time.Second
	defaultKeepMemory = 64 << 20
	extendMost        = 500 // claims in one statement
	storeTime         = 5 * time.Second
)

var errClaimLost = errors.New("the call's claim on its Idempotency-Key could not be extended in time")

// claims are the Idempotency-Keys in the hands of this node's calls. While there are any, one statement per interval extends
// all that are older than it. A claim that could not be extended is given up well before another node may take it over, and
// its call is cut.
type claims struct {
	store     ports.Idempotency
	log       *zap.Logger
	lease     time.Duration
	retention time.Duration
	memory    atomic.Int64 // bytes that may still be taken for answers on their way to the store, or from it

	mu   sync.Mutex
	live map[*claim]struct{}
	next *time.Timer // of the next extension; nil while none is due or one is under way
	busy bool        // an extension is under way
}

// claim is one call's hold on its Idempotency-Key.
type claim struct {
	ports.ClaimedKey
	ctx    context.Context // ends with the call, or when the claim is lost
	cancel context.CancelFunc
	since  time.Time   // before the statement was sent that made or extended the claim last
	cut    *time.Timer // fires when the claim can no longer be trusted
	lost   atomic.Bool
}

// interval is the time between two extensions: three may fail before a claim is given up.
func (s *claims) interval() time.Duration { return s.lease / 6 }

// trusted is how long after it was asked for a claim is relied on. The rest of the lease is for cutting the call.
func (s *claims) trusted() time.Duration { return s.lease * 2 / 3 }

// add begins to extend a claim that the store granted to a request which was sent at since.
func (s *claims) add(ctx context.Context, k ports.ClaimedKey, since time.Time) *claim {
	c := &claim{ClaimedKey: k, since: since}
	c.ctx, c.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.cut = time.AfterFunc(time.Until(since.Add(s.trusted())), c.lose)
	if s.live == nil {
		s.live = map[*claim]struct{}{}
	}
	s.live[c] = struct{}{}
	s.schedule()
	return c
}

// end stops to extend a claim: it is answered or given up.
func (s *claims) end(c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.cut.Stop()
	delete(s.live, c)
	if len(s.live) == 0 && s.next != nil {
		s.next.Stop()
		s.next = nil
	}
}

func (c *claim) lose() {
	c.lost.Store(true)
	c.cancel()
}

func (s *claims) schedule() {
	if len(s.live) > 0 && s.next == nil && !s.busy {
		s.next = time.AfterFunc(s.interval(), s.extend)
	}
}

func (s *claims) extend() {
	s.mu.Lock()
	s.next, s.busy = nil, true
	var due []*claim
	for c := range s.live {
		if time.Since(c.since) >= s.interval() {
			due = append(due, c)
		}
	}
	s.mu.Unlock()
	for len(due) > 0 {
		n := min(len(due), extendMost)
		s.extendBatch(due[:n])
		due = due[n:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	s.schedule()
}

func (s *claims) extendBatch(due []*claim) {
	ctx, cancel := context.WithTimeout(context.Background(), s.interval())
	defer cancel()
	keys := make([]ports.ClaimedKey, len(due))
	for i, c := range due {
		keys[i] = c.ClaimedKey
	}
	since := time.Now()
	held, err := s.store.Extend(ctx, keys, s.lease, s.retention)
	if err != nil {
		s.log.Warn("claims on Idempotency-Keys could not be extended; their calls are cut when this goes on",
			zap.Int("claims", len(due)), zap.Error(err))
		return
	}
	mine := make(map[ports.ClaimedKey]bool, len(held))
	for _, k := range held {
		mine[k] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range due {
		_, live := s.live[c]
		switch {
		case !live:
		case !mine[c.ClaimedKey]:
			c.lose()
		case c.cut.Stop(): // a claim that was given up stays so
			c.since = since
			c.cut.Reset(time.Until(since.Add(s.trusted())))
		}
	}
}

// take sets memory aside for a kept answer, if there is any.
func (s *claims) take(bytes int) bool {
	if s.memory.Add(int64(-bytes)) < 0 {
		s.memory.Add(int64(bytes))
		return false
	}
	return true
}

// give gives memory back.
func (s *claims) give(bytes int) { s.memory.Add(int64(bytes)) }
