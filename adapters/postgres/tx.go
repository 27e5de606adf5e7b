package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

const (
	attempts   = 4
	firstPause = 5 * time.Millisecond
)

// inTx runs work in one READ COMMITTED transaction and commits when it returns nil. On an error and on a panic nothing of
// it stays.
func inTx(ctx context.Context, db *sqlx.DB, work func(*sqlx.Tx) error) error {
	return inTxWith(ctx, db, nil, work)
}

// inSnapshot runs reads that all see the database at one moment.
func inSnapshot(ctx context.Context, db *sqlx.DB, read func(*sqlx.Tx) error) error {
	return inTxWith(ctx, db, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, read)
}

// retryTx is inTx that runs work again when Postgres ended it to break a deadlock or a serialization cycle, a few times,
// with growing pauses. work must be repeatable: no network, no clock, results reset on entry.
func retryTx(ctx context.Context, db *sqlx.DB, work func(*sqlx.Tx) error) error {
	for n := 1; ; n++ {
		err := inTx(ctx, db, work)
		if err == nil || !retryable(err) || n == attempts {
			return err // the last cause, never a bare "retries exceeded"
		}
		if werr := pause(ctx, n); werr != nil {
			return errors.Join(err, werr)
		}
	}
}

func inTxWith(ctx context.Context, db *sqlx.DB, opts *sql.TxOptions, work func(*sqlx.Tx) error) (err error) {
	tx, err := db.BeginTxx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { // no-op after commit; on an error and on a panic it frees the connection
		if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("rollback: %w", rerr))
		}
	}()
	if err := work(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func retryable(err error) bool {
	return pq.As(err, pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected) != nil
}

// pause waits before attempt n+1: between half and all of firstPause * 2^(n-1), so that two rivals do not meet again.
func pause(ctx context.Context, n int) error {
	most := firstPause << (n - 1)
	t := time.NewTimer(most/2 + rand.N(most/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
