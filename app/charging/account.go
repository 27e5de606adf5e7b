package charging

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// firstCalls is how many calls an account's first lease is sized for, before its rate of spending is known.
const firstCalls = 32

// account is one consumer's money on this node: the lease that calls draw on, older ones that calls in flight still hold,
// and the calls that wait for a new one.
type account struct {
	charger  *Charger
	consumer id.ID
	shard    *shard

	mu        sync.Mutex
	current   *lease
	leases    map[id.ID]*lease // every lease not yet closed, current included
	waiting   []*waiter
	refilling bool
	recalled  bool  // while refilling
	dead      bool  // no longer in the charger's table: calls must look again
	unknown   id.ID // the grant whose outcome is unknown: it is asked for again before any other
	perSecond int64 // stroops, as the last lease was spent: what the next one is sized by
	reserved  int64 // stroops held by calls in flight
	open      int64 // calls in flight
}

// waiter is a call that needs money this node does not have yet.
type waiter struct {
	price int64
	done  chan waited // buffered, so that serving never blocks
	asked bool        // the lease on its way was sized for it
	gone  bool        // its caller left
	until time.Time   // it waits for money from other nodes, at most until then
}

type waited struct {
	lease *lease
	err   error
}

// errDead means the account was forgotten between being found and being used.
var errDead = errors.New("account is no longer in use")

// errGrantLate means that no lease came in time.
var errGrantLate = errors.New("the database set no money aside in time")

// reserve takes price from the current lease, or waits for a new one. Calls are served in the order they came.
func (a *account) reserve(ctx context.Context, price int64, now time.Time) (*lease, error) {
	a.mu.Lock()
	if a.dead {
		a.mu.Unlock()
		return nil, errDead
	}
	if len(a.waiting) == 0 && a.current.serves(price, now) {
		l := a.current
		a.take(l, price, now)
		a.mu.Unlock()
		return l, nil
	}
	w := &waiter{price: price, done: make(chan waited, 1)}
	a.waiting = append(a.waiting, w)
	if !a.refilling {
		a.refilling = true
		a.charger.background.Go(func() { a.refill(false) })
	}
	a.mu.Unlock()

	late := time.NewTimer(a.charger.cfg.GrantTimeout)
	defer late.Stop()
	select {
	case got := <-w.done:
		return got.lease, got.err
	case <-ctx.Done():
		return nil, a.leave(w, ctx.Err())
	case <-late.C:
		return nil, a.leave(w, usage.ErrNotRecorded.Because(errGrantLate))
	}
}

// leave takes a waiter out of the queue, and gives back what it was handed at the same moment.
func (a *account) leave(w *waiter, cause error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.gone = true
	select {
	case got := <-w.done:
		if got.lease != nil {
			a.giveBack(got.lease, w.price, id.ID{})
		}
	default:
	}
	return cause
}

// refill gets leases until no call waits. With recover it also asks once for a grant whose outcome is unknown.
func (a *account) refill(recover bool) {
	for pause := firstAskAgain; ; {
		grant, ok := a.nextGrant(recover)
		if !ok {
			return
		}
		recover = false
		asked := a.charger.now()
		ctx, cancel := context.WithTimeout(a.charger.life, a.charger.cfg.GrantTimeout)
		got, err := a.charger.leases.Grant(ctx, grant)
		cancel()
		if !a.granted(grant, got, asked, err) {
			pause = firstAskAgain
			continue
		}
		a.charger.pauseForRecall(pause)
		pause = min(2*pause, lastAskAgain)
	}
}

// nextGrant retires the current lease and sizes its successor for the calls that wait; false when none does.
func (a *account) nextGrant(recover bool) (ports.LeaseGrant, bool) {
	now := a.charger.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serveWaiting(now, nil)
	g := ports.LeaseGrant{
		ID: a.unknown, Again: !a.unknown.IsZero(), Node: a.charger.node, Consumer: a.consumer, Network: a.charger.cfg.Network,
		TTL: a.charger.cfg.LeaseTTL,
	}
	if len(a.waiting) == 0 && recover && g.Again {
		more := money.FromStroops(math.MaxInt64) // than any vault has: nothing is granted anew
		g.AtLeast, g.Need, g.Want = more, more, more
		return g, true
	}
	if len(a.waiting) == 0 {
		if a.refilling = false; a.recalled {
			a.charger.recalls.add(a.consumer)
		}
		a.recalled = false
		return ports.LeaseGrant{}, false
	}
	if !g.Again {
		g.ID = a.charger.newID()
	}
	atLeast, need := int64(math.MaxInt64), int64(0)
	for _, w := range a.waiting {
		w.asked = true
		atLeast = min(atLeast, w.price)
		need = addUpTo(need, w.price)
	}
	if a.current != nil {
		a.retire(a.current, now)
	}
	g.GiveBack, a.recalled = a.spare(), false
	want := max(need, timesUpTo(a.perSecond, int64(a.charger.cfg.LeaseTarget/time.Millisecond))/1000, timesUpTo(a.waiting[0].price, firstCalls))
	g.AtLeast, g.Need, g.Want = money.FromStroops(atLeast), money.FromStroops(need), money.FromStroops(want)
	return g, true
}

// spare is what is still needed of the leases that serve no more, of which the database knows more. The caller holds the mutex.
func (a *account) spare() (parts []ports.LeasePart) {
	for _, l := range a.leases {
		if p, ok := l.spare(); ok {
			parts = append(parts, p)
		}
	}
	return parts
}

// granted puts a new lease to use and answers the calls it serves, and those that the vault is short for. It reports whether
// some of them wait for money from other nodes.
func (a *account) granted(g ports.LeaseGrant, got vault.Lease, asked time.Time, err error) (held bool) {
	now := a.charger.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	short := errors.Is(err, vault.ErrShort)
	a.unknown = id.ID{}
	if err == nil || short {
		a.returned(g.GiveBack)
	}
	switch {
	case err == nil:
		l := newLease(got, asked, now, a.charger.cfg.LeaseTTL)
		a.leases[l.id] = l
		if l.retired = a.current != nil; !l.retired { // one that was recovered when nobody waited is not needed
			a.current = l
		}
	case g.Again && errors.Is(err, ports.ErrLeaseEnded):
		err = nil // those who wait ask for a new one
	case !short:
		a.unknown = g.ID
		err = usage.ErrNotRecorded.Because(err)
	}
	if errors.Is(err, ports.ErrRecalled) {
		a.charger.recalls.sent.Add(1)
		err = vault.ErrHeld // which call was the one that recalled is none of the callers' concern
	}
	a.serveWaiting(now, err)
	return errors.Is(err, vault.ErrHeld) && len(a.waiting) > 0
}

// returned notes that the database has heard what is still needed of leases, and how much went back. The caller holds the mutex.
func (a *account) returned(parts []ports.LeasePart) (back int64) {
	for _, p := range parts {
		if l := a.leases[p.Lease]; l != nil && p.Keep.Stroops() < l.told {
			back += l.told - p.Keep.Stroops()
			l.told = p.Keep.Stroops()
		}
	}
	return back
}

// serveWaiting hands the current lease to waiting calls in order. With a refusal, those that the last grant was sized for
// and that still cannot be served are refused, unless money may come from other nodes; the others wait for the next. The caller
// holds the mutex.
func (a *account) serveWaiting(now time.Time, refusal error) {
	rest := a.waiting[:0]
	for _, w := range a.waiting {
		switch {
		case w.gone:
		case a.current.serves(w.price, now):
			a.take(a.current, w.price, now)
			a.charger.recalls.waited(w, true)
			w.done <- waited{lease: a.current}
		case w.asked && refusal != nil && !a.awaits(w, refusal, now):
			a.charger.recalls.waited(w, false)
			w.done <- waited{err: refusal}
		default:
			rest = append(rest, w)
		}
	}
	clear(a.waiting[len(rest):])
	a.waiting = rest
}

// retire ends the lease's service; calls in flight still end on it. The caller holds the mutex.
func (a *account) retire(l *lease, now time.Time) {
	l.retired = true
	if age := now.Sub(l.born); age > 0 {
		a.perSecond = timesUpTo(l.spent, int64(time.Second/time.Millisecond)) / max(age.Milliseconds(), 1000)
	}
	if a.current == l {
		a.current = nil
	}
}

func (a *account) take(l *lease, price int64, now time.Time) {
	l.take(price, now)
	a.reserved += price
	a.open++
}

// finish ends a hold on l.
func (a *account) finish(l *lease, price int64, payer id.ID) {
	a.mu.Lock()
	a.giveBack(l, price, payer)
	a.mu.Unlock()
}

func (a *account) giveBack(l *lease, price int64, payer id.ID) {
	l.finish(price, payer)
	a.reserved -= price
	a.open--
}

// lose takes a lease that the database has ended out of service.
func (a *account) lose(l *lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(l)
}

func (a *account) drop(l *lease) {
	l.lost = true
	if a.current == l {
		a.current = nil
	}
}

// addUpTo and timesUpTo stop at the largest amount instead of wrapping: no vault holds that much, so the sums they size
// are only ever compared.
func addUpTo(x, y int64) int64 {
	if x > math.MaxInt64-y {
		return math.MaxInt64
	}
	return x + y
}

func timesUpTo(x, n int64) int64 {
	if p, err := money.FromStroops(x).Times(n); err == nil {
		return p.Stroops()
	}
	return math.MaxInt64
}
