package postgres_test

import (
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

func TestAPoolerThatSharesSessionsIsRefused(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*dbtest.Pooler{
		"one connection":                 {Keep: 1},
		"the last that was given back":   {Keep: 2},
		"in turn":                        {Keep: 2, InTurn: true},
		"as many as clients, in turn":    {Keep: 9, InTurn: true},
		"as many as clients":             {Keep: 9},
		"one connection, used by others": {Keep: 1, InTurn: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := p.Before(t, dbtest.Empty(t))
			others := connectTo(t, address)
			for range 5 { // leaves connections behind
				var n int
				if err := others.Get(&n, `SELECT 1`); err != nil {
					t.Fatal(err)
				}
			}
			if err := postgres.RequireSession(t.Context(), connectTo(t, address)); !errors.Is(err, postgres.ErrPooled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAServerAndASessionPoolerAreNotRefused(t *testing.T) {
	t.Parallel()
	address := dbtest.Empty(t)
	for name, place := range map[string]string{"a server": address, "a session pooler": (&dbtest.Pooler{Sessions: true}).Before(t, address)} {
		for range 20 {
			if err := postgres.RequireSession(t.Context(), connectTo(t, place)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func connectTo(t *testing.T, address string) *sqlx.DB {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: address, MaxOpen: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}
