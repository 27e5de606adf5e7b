package charging

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// lease is this node's view of a part of a vault, in stroops. Its account's mutex guards it. When calls outlive it, it goes
// on as its successor: the holds on it stay where they are, and id is another's.
type lease struct {
	id       id.ID // written by its shard alone, which reads it without the mutex
	epoch    int64 // of the voids on it; only its shard knows
	granted  int64 // what this node counts on
	told     int64 // what the database has it at, as far as the node knows
	free     int64 // of granted, neither used nor reserved
	reserved int64 // by holds that are not finished
	charged  int64 // by calls since the grant
	open     int   // holds that are not finished
	spent    int64 // reserved since the grant and not given back, for sizing the next lease
	born     time.Time
	drawn    time.Time // last reservation
	stopAt   time.Time // no reservation from here on, unless renewed before
	retired  bool      // serves no new call
	lost     bool      // the database ended it
	closing  bool      // its close is under way

	moving    bool  // handed to its shard to be replaced
	successor id.ID // asked for, with an unknown outcome; written by its shard alone
}

func newLease(got vault.Lease, asked, now time.Time, ttl time.Duration) *lease {
	n := got.Granted.Stroops()
	return &lease{id: got.ID, granted: n, told: n, free: n, born: asked, drawn: now, stopAt: asked.Add(ttl / 2)}
}

func (l *lease) serves(price int64, now time.Time) bool {
	return l != nil && !l.retired && !l.lost && l.free >= price && now.Before(l.stopAt)
}

func (l *lease) take(price int64, now time.Time) {
	l.free -= price
	l.reserved += price
	l.spent += price
	l.open++
	l.drawn = now
}

// finish ends a hold that was charged to the lease payer, the zero id for one that was not charged. What this lease has not
// paid is free again.
func (l *lease) finish(price int64, payer id.ID) {
	l.open--
	l.reserved -= price
	if payer == l.id {
		l.charged += price
		return
	}
	l.free += price
	if payer.IsZero() {
		l.spent -= price
	}
}

// spare is what is still needed of a lease that serves no more, when that is less than the database knows of. Whether or
// not it hears of it: this node no longer counts on the rest.
func (l *lease) spare() (ports.LeasePart, bool) {
	if !l.retired || !l.settled() {
		return ports.LeasePart{}, false
	}
	if l.free > 0 {
		l.granted -= l.free
		l.free = 0
	}
	return ports.LeasePart{Lease: l.id, Keep: money.FromStroops(l.granted)}, l.granted < l.told
}

// settled reports whether the lease is what this node believes: nothing about it is under way.
func (l *lease) settled() bool { return !l.lost && !l.closing && !l.moving && l.successor.IsZero() }

// finished reports whether no call can touch the lease any more, so that the database may end it.
func (l *lease) finished() bool {
	return l.open == 0 && (l.lost || l.retired && l.settled()) && !l.closing
}

// pins reports whether calls that go on keep the lease from ending, although it is old and others were charged to it: their
// money can be neither booked nor collected until it does.
func (l *lease) pins(now time.Time, maxAge time.Duration) bool {
	return l.retired && l.settled() && l.open > 0 && l.charged > 0 && now.Sub(l.born) >= 2*maxAge
}

// succeed makes the lease its successor.
func (l *lease) succeed(got vault.Lease, asked time.Time, ttl time.Duration) {
	n := got.Granted.Stroops()
	l.id, l.epoch, l.successor = got.ID, 0, id.ID{}
	l.granted, l.told, l.charged = n, n, 0
	l.free = n - l.reserved // below zero while a record that the old lease paid for is not answered for
	l.born, l.stopAt = asked, asked.Add(ttl/2)
}
