package charging

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// lease is this node's view of a part of a vault, in stroops. Its account's mutex guards it.
type lease struct {
	id      id.ID
	epoch   int64 // of the voids on it; only its shard knows
	free    int64 // neither used nor reserved
	open    int   // holds that are not finished
	spent   int64 // reserved since the grant and not given back, for sizing the next lease
	born    time.Time
	drawn   time.Time // last reservation
	stopAt  time.Time // no reservation from here on, unless renewed before
	retired bool      // serves no new call
	lost    bool      // the database ended it
	closing bool      // its close is under way
}

func (l *lease) serves(price int64, now time.Time) bool {
	return l != nil && !l.retired && !l.lost && l.free >= price && now.Before(l.stopAt)
}

func (l *lease) take(price int64, now time.Time) {
	l.free -= price
	l.spent += price
	l.open++
	l.drawn = now
}

// finish ends a hold; money that was not charged is free again.
func (l *lease) finish(price int64, charged bool) {
	l.open--
	if !charged {
		l.free += price
		l.spent -= price
	}
}

// spare takes out what no call needs of a lease that serves no more, so that the database can have it back. Whether or
// not it hears of it: this node no longer counts on it, and the lease's close sets everything right.
func (l *lease) spare() (ports.LeasePart, bool) {
	if !l.retired || l.lost || l.free == 0 {
		return ports.LeasePart{}, false
	}
	part := ports.LeasePart{Lease: l.id, Amount: money.FromStroops(l.free)}
	l.free = 0
	return part, true
}

// finished reports whether no call can touch the lease any more, so that the database may end it.
func (l *lease) finished() bool { return (l.retired || l.lost) && l.open == 0 && !l.closing }
