package postgres

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

const (
	given = 300 * time.Millisecond // to an operation on a silent network
	slack = 2 * time.Second        // for a busy machine; without a bound the operations wait for ever
)

// beyond opens a pool behind a proxy, with connections ready.
func beyond(t *testing.T, more ...func(*Config)) (*dbtest.Proxy, *sqlx.DB, string) {
	t.Helper()
	address := dbtest.URL(t)
	p := dbtest.NewProxy(t, address)
	c := Config{URL: p.URL(), MaxOpen: 4, ConnectTimeout: time.Second}
	for _, set := range more {
		set(&c)
	}
	db, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return p, db, address
}

// bounded fails the test when op does not end in time, or ends well.
func bounded(t *testing.T, most time.Duration, op func() error) {
	t.Helper()
	ended := make(chan error, 1)
	begun := time.Now()
	go func() { ended <- op() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it went well on a silent network")
		}
		t.Logf("after %v: %v", time.Since(begun).Round(time.Millisecond), err)
	case <-time.After(most + slack):
		t.Fatalf("still waiting after %v", time.Since(begun))
	}
}

func TestEveryWaitOnASilentNetworkEndsWithItsContext(t *testing.T) {
	t.Parallel()
	type state struct {
		db   *sqlx.DB
		tx   *sqlx.Tx
		rows *sql.Rows
		stmt *sqlx.Stmt
		conn *sqlx.Conn
		ctx  context.Context
	}
	begin := func(s *state) (err error) { s.tx, err = s.db.BeginTxx(s.ctx, nil); return err }
	prepare := func(s *state) (err error) {
		s.stmt, err = s.db.PreparexContext(context.Background(), `SELECT 1 + $1::int`)
		return err
	}
	take := func(s *state) (err error) { s.conn, err = s.db.Connx(context.Background()); return err }
	for name, op := range map[string]struct {
		before, silent func(*state) error
	}{
		"query":            {nil, func(s *state) error { _, err := s.db.QueryContext(s.ctx, `SELECT 1`); return err }},
		"parameters":       {nil, func(s *state) error { _, err := s.db.QueryContext(s.ctx, `SELECT $1::int`, 1); return err }},
		"one row":          {nil, func(s *state) error { var n int; return s.db.GetContext(s.ctx, &n, `SELECT 1`) }},
		"exec":             {nil, func(s *state) error { _, err := s.db.ExecContext(s.ctx, `SELECT 1`); return err }},
		"prepare":          {nil, func(s *state) error { _, err := s.db.PreparexContext(s.ctx, `SELECT 1`); return err }},
		"ping":             {nil, func(s *state) error { return s.db.PingContext(s.ctx) }},
		"begin":            {nil, begin},
		"statement":        {prepare, func(s *state) error { var n int; return s.stmt.GetContext(s.ctx, &n, 1) }},
		"statement's exec": {prepare, func(s *state) error { _, err := s.stmt.ExecContext(s.ctx, 1); return err }},
		"in a transaction": {begin, func(s *state) error { _, err := s.tx.Exec(`SELECT 1`); return err }},
		"commit":           {begin, func(s *state) error { return s.tx.Commit() }},
		"rollback":         {begin, func(s *state) error { return s.tx.Rollback() }},
		"held connection":  {take, func(s *state) error { _, err := s.conn.ExecContext(s.ctx, `SELECT 1`); return err }},
		"open rows": {func(s *state) (err error) {
			s.rows, err = s.db.QueryContext(s.ctx, `SELECT repeat('x', 1000) FROM generate_series(1, 100000)`)
			return err
		}, func(s *state) error {
			for s.rows.Next() {
			}
			return errors.Join(s.rows.Err(), s.rows.Close())
		}},
		"new connection": {func(s *state) error { s.db.SetMaxIdleConns(-1); return nil }, func(s *state) error { return s.db.PingContext(s.ctx) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, db, address := beyond(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &state{db: db, ctx: ctx}
			if op.before != nil {
				if err := op.before(s); err != nil {
					t.Fatal(err)
				}
			}
			p.Silence()
			time.AfterFunc(given, cancel)
			bounded(t, given+cancelGrace, func() error { return op.silent(s) })

			p.Heal(t, address)
			if s.conn != nil {
				_ = s.conn.Close()
			}
			recovers(t, db)
		})
	}
}

// recovers holds that the pool serves again, with all its connections.
func recovers(t *testing.T, db *sqlx.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slack)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		t.Errorf("after the network came back: %v", err)
	}
	for deadline := time.Now().Add(slack); db.Stats().InUse > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are lost to the pool", db.Stats().InUse)
		}
	}
}

func within(t *testing.T, most time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	t.Cleanup(cancel)
	return ctx
}
