package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

const raiseSerialization = `DO $$ BEGIN RAISE EXCEPTION 'cycle' USING ERRCODE = '40001'; END $$`

func TestATransactionThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	db := notes(t)
	boom := errors.New("boom")
	err := inTx(t.Context(), db, func(tx *sqlx.Tx) error {
		tx.MustExec(`INSERT INTO notes VALUES (1)`)
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("error = %v, want %v", err, boom)
	}
	wantNotes(t, db, 0)
}

func TestAPanicRollsBackAndFreesTheConnection(t *testing.T) {
	t.Parallel()
	db := notes(t)
	db.SetMaxOpenConns(1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = inTx(t.Context(), db, func(tx *sqlx.Tx) error {
			tx.MustExec(`INSERT INTO notes VALUES (1)`)
			panic("boom")
		})
	}()
	wantNotes(t, db, 0) // would wait for ever on a leaked connection
}

func TestACommitThatIsRefusedIsReported(t *testing.T) {
	t.Parallel()
	db := notes(t)
	err := inTx(t.Context(), db, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`INSERT INTO notes VALUES (1), (1)`) // the uniqueness is deferred to the commit
		return err
	})
	if err == nil || !strings.HasPrefix(err.Error(), "commit: ") {
		t.Errorf("error = %v, want one of the commit", err)
	}
	wantNotes(t, db, 0)
}

func TestASerializationFailureIsRetried(t *testing.T) {
	t.Parallel()
	db := notes(t)
	runs := 0
	err := retryTx(t.Context(), db, func(tx *sqlx.Tx) error {
		runs++
		if _, err := tx.Exec(`INSERT INTO notes VALUES ($1)`, runs); err != nil || runs == 3 {
			return err
		}
		_, err := tx.Exec(raiseSerialization)
		return failed("write a note", err, nil) // as a fault it is still known for what it is
	})
	if err != nil || runs != 3 {
		t.Errorf("error %v after %d runs, want success after 3", err, runs)
	}
	wantNotes(t, db, 1)
}

func TestADeadlockIsBrokenAndBothSucceed(t *testing.T) {
	t.Parallel()
	db := notes(t)
	db.MustExec(`INSERT INTO notes VALUES (1), (2)`)
	locked := make(chan struct{}, 2)
	both := make(chan struct{})
	lock := func(first, second int) error {
		run := 0
		return retryTx(t.Context(), db, func(tx *sqlx.Tx) error {
			run++
			if _, err := tx.Exec(`SELECT n FROM notes WHERE n = $1 FOR UPDATE`, first); err != nil {
				return err
			}
			if run == 1 {
				locked <- struct{}{}
				<-both
			}
			_, err := tx.Exec(`SELECT n FROM notes WHERE n = $1 FOR UPDATE`, second)
			return err
		})
	}
	done := make(chan error, 2)
	go func() { done <- lock(1, 2) }()
	go func() { done <- lock(2, 1) }()
	<-locked
	<-locked
	close(both)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRetriesEndWithTheLastCause(t *testing.T) {
	t.Parallel()
	db := notes(t)
	runs := 0
	err := retryTx(t.Context(), db, func(tx *sqlx.Tx) error {
		runs++
		_, err := tx.Exec(raiseSerialization)
		return err
	})
	if pq.As(err, "40001") == nil || runs != attempts {
		t.Errorf("error %v after %d runs, want 40001 after %d", err, runs, attempts)
	}
}

func TestRetriesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	db := notes(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := retryTx(ctx, db, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(raiseSerialization)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) || pq.As(err, "40001") == nil {
		t.Errorf("error = %v, want the cause and the end of the context", err)
	}
	if err := inTx(ctx, db, func(*sqlx.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("begin with an ended context: %v", err)
	}
}

func TestASnapshotSeesOneMomentAndWritesNothing(t *testing.T) {
	t.Parallel()
	db := notes(t)
	err := inSnapshot(t.Context(), db, func(tx *sqlx.Tx) error {
		var before, after int
		if err := tx.Get(&before, `SELECT count(*) FROM notes`); err != nil {
			return err
		}
		db.MustExec(`INSERT INTO notes VALUES (1)`)
		if err := tx.Get(&after, `SELECT count(*) FROM notes`); err != nil {
			return err
		}
		if before != 0 || after != 0 {
			t.Errorf("saw %d and then %d rows, want one moment", before, after)
		}
		_, err := tx.Exec(`INSERT INTO notes VALUES (2)`)
		return err
	})
	if pq.As(err, "25006") == nil {
		t.Errorf("a write in a snapshot: %v, want a refusal", err)
	}
}

func notes(t *testing.T) *sqlx.DB {
	t.Helper()
	db := dbtest.New(t)
	db.MustExec(`CREATE TABLE notes (n int CONSTRAINT notes_n_key UNIQUE DEFERRABLE INITIALLY DEFERRED)`)
	return db
}

func wantNotes(t *testing.T, db *sqlx.DB, want int) {
	t.Helper()
	var n int
	if err := db.GetContext(t.Context(), &n, `SELECT count(*) FROM notes`); err != nil {
		t.Fatal(err)
	}
	if n != want {
		t.Errorf("%d rows stay, want %d", n, want)
	}
}
