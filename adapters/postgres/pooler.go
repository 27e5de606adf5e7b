package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// ErrPooled means that one connection to the database is not one session of it.
var ErrPooled = errors.New("the database is behind a pooler that gives each transaction another connection (PgBouncer with pool_mode = transaction, say), " +
	"which mixes up prepared statements and loses locks and notifications: use pool_mode = session, or the database's own address")

// probes is how often RequireSession looks. A pooler that hands out its connections in turn, or is used by others at the
// same time, may answer like a server once. A pooler may also let all of it wait for a connection.
const (
	probes       = 5
	probeTimeout = 10 * time.Second
)

// RequireSession returns ErrPooled when statements of one connection run in sessions of the database that others use too.
// It trusts no name and no version: it asks two connections who serves them, one of them in a transaction and the other
// twice before and once meanwhile. The pool needs two connections.
func RequireSession(ctx context.Context, db *sqlx.DB) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	idle, err := db.Connx(ctx)
	if err != nil {
		return failed("look for a pooler before the database", err, nil)
	}
	defer idle.Close()
	busy, err := db.Connx(ctx)
	if err != nil {
		return failed("look for a pooler before the database", err, nil)
	}
	defer busy.Close()
	for range probes {
		shared, err := sharesSession(ctx, idle, busy)
		if err != nil {
			return failed("look for a pooler before the database", err, nil)
		}
		if shared {
			return ErrPooled
		}
	}
	return nil
}

func sharesSession(ctx context.Context, idle, busy *sqlx.Conn) (bool, error) {
	before, err := sessionOf(ctx, idle)
	if err != nil {
		return false, err
	}
	again, err := sessionOf(ctx, idle)
	if err != nil || again != before { // a pooler that hands them out in turn
		return err == nil, err
	}
	tx, err := busy.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return false, fmt.Errorf("begin a transaction (a pooler with pool_mode = statement refuses that): %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // read-only
	other, err := sessionOf(ctx, tx)
	if err != nil || other == before { // one that hands out the last it has got back
		return err == nil, err // no further question: with one connection in all it would wait for this transaction
	}
	meanwhile, err := sessionOf(ctx, idle)
	return err == nil && meanwhile != before, err
}

// sessionOf names the server's process behind q. Without arguments, so that it is one message also for a pooler.
func sessionOf(ctx context.Context, q sqlx.QueryerContext) (name string, err error) {
	var pid int64
	var since string
	err = q.QueryRowxContext(ctx, `SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&pid, &since)
	return fmt.Sprint(pid, " since ", since), err
}
