package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/ports"
)

// watch looks for changes through one connection that it holds from look to look, so that it knows when there is a new one.
type watch struct {
	db      *sqlx.DB
	conn    *sqlx.Conn // nil before the first look and after a failed one
	trouble func(error)
}

func (f *ChangeFeed) newWatch() *watch {
	db := sqlx.NewDb(sql.OpenDB(f.to), "postgres")
	db.SetMaxIdleConns(-1) // a dropped connection is never taken up again
	return &watch{db: db, trouble: f.OnTrouble}
}

// horizon is how far a feed has looked: all that snapshot sees. Its zero value has seen nothing and asks for nothing.
type horizon struct {
	snapshot string // as pg_current_snapshot() prints it
	at       time.Time
}

// look returns what has become visible since seen, and the new horizon. A connection that was cut since the last look is
// replaced at once.
func (w *watch) look(ctx context.Context, seen horizon) ([]ports.Change, horizon, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if w.conn != nil {
		if changes, now, err := w.lookThrough(ctx, seen, time.Time{}); err == nil || ctx.Err() != nil {
			return changes, now, err
		}
	}
	conn, err := w.db.Connx(ctx)
	if err != nil {
		return nil, horizon{}, err
	}
	w.conn = conn
	return w.lookThrough(ctx, seen, seen.at)
}

// lookThrough looks through the present connection and drops it on an error.
//
// again, when set, is since when changes are returned even if they were seen. A new connection may be one to a server
// that has crashed and gives out transaction ids again that the last snapshot took for ended. After a long absence, when
// changes may have been pruned unseen, everything counts as changed.
func (w *watch) lookThrough(ctx context.Context, seen horizon, again time.Time) (_ []ports.Change, now horizon, err error) {
	defer func() {
		if err != nil {
			w.drop()
		}
	}()
	var rows []changeRow
	if err := w.conn.SelectContext(ctx, &rows, newChanges, seen.snapshot, nullTime(again), clockSlack.Seconds()); err != nil {
		return nil, horizon{}, err
	}
	now = horizon{snapshot: rows[0].Snapshot, at: rows[0].At}
	if seen.snapshot != "" && now.at.Sub(seen.at) > farBehind {
		rows = nil
		if err := w.conn.SelectContext(ctx, &rows, everything); err != nil {
			return nil, horizon{}, err
		}
	}
	return changesIn(rows), now, nil
}

// newChanges always has a row, for the snapshot; snapshot and changes are of the same statement. $1 is the last snapshot,
// empty at first; $2 the time of the last look when changes since then shall be read again, else NULL.
const newChanges = `
	SELECT pg_current_snapshot()::text AS snapshot, now() AS at, COALESCE(c.kind, '') AS kind, COALESCE(c.subject, '') AS subject
	FROM (VALUES (1)) one LEFT JOIN (
		SELECT DISTINCT kind, subject FROM changes
		WHERE (xid >= pg_snapshot_xmin(NULLIF($1, '')::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, NULLIF($1, '')::pg_snapshot))
			OR changed_at >= $2::timestamptz - $3 * INTERVAL '1 second'
	) c ON true`

// Keys and APIs are never deleted, so these are all subjects there can be.
const everything = `
	SELECT '' AS snapshot, now() AS at, 'api' AS kind, id::text AS subject FROM apis
	UNION ALL SELECT '', now(), 'key', prefix FROM api_keys`

type changeRow struct {
	Snapshot string    `db:"snapshot"`
	At       time.Time `db:"at"`
	Kind     string    `db:"kind"`
	Subject  string    `db:"subject"`
}

func changesIn(rows []changeRow) []ports.Change {
	var changes []ports.Change
	for _, r := range rows {
		if r.Kind != "" {
			changes = append(changes, ports.Change{Kind: ports.ChangeKind(r.Kind), Subject: r.Subject})
		}
	}
	return changes
}

// drop closes the connection: whatever is wrong with it, the next look has a new one.
func (w *watch) drop() {
	if w.conn == nil {
		return
	}
	if err := w.conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		w.trouble(err)
	}
	w.conn = nil
}

func (w *watch) close() {
	w.drop()
	if err := w.db.Close(); err != nil {
		w.trouble(err)
	}
}
