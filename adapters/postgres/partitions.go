package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// Partitions keeps the daily partitions of usage_events: those of days ahead, and those of days whose events went to the
// default partition because no pass had made theirs. docs/decisions/0017 tells how, and why nobody waits for it.
type Partitions struct {
	db    *sqlx.DB
	ahead int
}

// NewPartitions keeps so many days ahead of today in db.
func NewPartitions(db *sqlx.DB, ahead int) *Partitions { return &Partitions{db: db, ahead: ahead} }

// ErrNoRight means that the role of this connection may not make partitions. Charging goes on without.
var ErrNoRight = errors.New("this role may not make partitions of usage_events")

const (
	inTheWayFirst = 50 * time.Millisecond
	inTheWayMost  = time.Second
	inTheWayTries = 12 // some eight seconds; then the next pass tries
)

// Make makes what is missing from today to the days ahead, and returns how many are new. A day that has events in the
// default partition is left to Move. Safe to repeat, and to run on several nodes at once.
func (p *Partitions) Make(ctx context.Context) (int, error) {
	return p.call(ctx, "make partitions of usage_events", `SELECT usage_partitions($1)`, p.ahead)
}

// Move does a step of moving events out of the default partition into those of their days, and returns how many events or
// partitions it was: 0 when there is nothing to do.
func (p *Partitions) Move(ctx context.Context) (int, error) {
	return p.call(ctx, "move events to the partition of their day", `SELECT usage_partitions_move()`)
}

// Keep is Make and one Move. Who repeats it until it returns 0 has made all that can be made.
func (p *Partitions) Keep(ctx context.Context) (int, error) {
	made, err := p.Make(ctx)
	if err != nil {
		return made, err
	}
	moved, err := p.Move(ctx)
	return made + moved, err
}

// call tries again for a while when somebody was in the way: the database does not wait, as all others would wait behind it.
func (p *Partitions) call(ctx context.Context, doing, query string, args ...any) (n int, err error) {
	var inTheWay error
	for wait, try := inTheWayFirst, 1; ; wait, try = min(2*wait, inTheWayMost), try+1 {
		err = p.db.GetContext(ctx, &n, query, args...)
		if ctx.Err() != nil && inTheWay != nil {
			return 0, failed(doing, errors.Join(inTheWay, err), nil)
		}
		if pq.As(err, pqerror.LockNotAvailable) == nil || try == inTheWayTries {
			break
		}
		inTheWay = err
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	if refused := pq.As(err, pqerror.InsufficientPrivilege); refused != nil {
		return 0, fmt.Errorf("%s: %w (%s): events of days without one go to usage_events_default, and calls go on being charged; "+
			"`callora migrate partitions` with the role that migrates makes them, docs/OPERATIONS.md has the rights", doing, ErrNoRight, refused.Message)
	}
	return n, failed(doing, err, nil)
}

// PartitionState is how the partitions are. The counts end at 10,000.
type PartitionState struct {
	Ahead   int `db:"ahead"`   // whole days ahead of today that have their partition; -1: today has none
	Waiting int `db:"waiting"` // events in the default partition that can move to the partition of their day
	Strays  int `db:"strays"`  // events in the default partition that stay: their ids tell a day that gets no partition
}

// State returns how the partitions are.
func (p *Partitions) State(ctx context.Context) (s PartitionState, err error) {
	err = p.db.GetContext(ctx, &s, `SELECT ahead, waiting, strays FROM usage_partitions_state($1)`, p.ahead)
	return s, failed("look at the partitions of usage_events", err, nil)
}
