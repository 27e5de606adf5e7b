package postgres

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	pollEvery   = time.Second
	lookTimeout = 2 * time.Second // a look that hangs is a lost connection; a cut is over within 5 s
	keepChanges = time.Hour       // how long a change can be read
	farBehind   = keepChanges / 2 // after so long without a look, some changes may be gone
	clockSlack  = time.Minute
	pruneLimit  = 10_000
)

// ChangeFeed tells a node what others have changed. It is ports.ChangeFeed.
//
// The changes table is the truth, a NOTIFY only says when to look at it, and a poll looks anyway. What is new at a look
// is what its snapshot sees and the last look's snapshot did not: a row that commits late is in the first look after its
// commit, however old it is.
type ChangeFeed struct {
	// OnTrouble, when set, hears of failed looks and lost notifications. Following goes on.
	OnTrouble func(error)

	db   *sqlx.DB
	to   *connector
	url  string // the same place, for the listener
	poll time.Duration
}

// NewChangeFeed returns the feed of db. Following takes two connections of its own, to c.URL: news of a revoked key must
// not queue behind a busy pool.
func NewChangeFeed(db *sqlx.DB, c Config) (*ChangeFeed, error) {
	dsn, err := c.filled().dsn()
	if err != nil {
		return nil, err
	}
	to, err := c.connector()
	if err != nil {
		return nil, err
	}
	return &ChangeFeed{OnTrouble: func(error) {}, db: db, to: to, url: dsn, poll: pollEvery}, nil
}

// Follow reports what has changed until ctx ends, and then returns nil.
func (f *ChangeFeed) Follow(ctx context.Context, started chan<- struct{}, on func([]ports.Change, time.Time)) error {
	watch := f.newWatch()
	defer watch.close()
	woken, stop := f.listen()
	defer stop()
	tick := time.NewTicker(f.poll)
	defer tick.Stop()

	var seen horizon
	for ctx.Err() == nil {
		asOf := time.Now()
		changes, now, err := watch.look(ctx, seen)
		switch {
		case err == nil:
			if seen.snapshot == "" {
				close(started)
			}
			seen = now
			on(changes, asOf)
		case ctx.Err() == nil:
			f.OnTrouble(failed("look for changes", err, nil))
		}
		select {
		case <-tick.C:
		case <-woken:
		case <-ctx.Done():
		}
	}
	return nil
}

// Prune deletes changes that every node has long seen, a bounded number at a time, and returns how many.
func (f *ChangeFeed) Prune(ctx context.Context) (int, error) {
	gone, err := f.db.ExecContext(ctx, `
		DELETE FROM changes WHERE ctid = ANY (ARRAY (
			SELECT ctid FROM changes WHERE changed_at < now() - $1 * INTERVAL '1 second' LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		keepChanges.Seconds(), pruneLimit)
	if err != nil {
		return 0, failed("prune changes", err, nil)
	}
	n, err := gone.RowsAffected()
	return int(n), err
}
