// Package dbtest gives each test a PostgreSQL database of its own, with the schema in place.
//
// Servers: one private server for each test process, or the one that TEST_DATABASE_URL names. A machine without
// PostgreSQL, where none can be fetched either, fails the tests: they are never skipped.
package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db"
)

// Env names the variable with the address of a server to use instead of a private one. Its user must be allowed to
// create databases.
const Env = "TEST_DATABASE_URL"

const poolSize = 20

var counter atomic.Int64

// New returns a pool on a new, migrated database that is dropped at the end of the test.
func New(t testing.TB) *sqlx.DB {
	t.Helper()
	return open(t, URL(t))
}

// URL returns the address of a new, migrated database that is dropped at the end of the test.
func URL(t testing.TB) string {
	t.Helper()
	return server(t).migrated(t)
}

// Empty returns the address of a new database without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	return server(t).create(t, "template0")
}

func (s *testServer) migrated(t testing.TB) string {
	t.Helper()
	if s.template != "" {
		return s.create(t, s.template)
	}
	address := s.create(t, "template0")
	migrate(t, address)
	return address
}

func (s *testServer) create(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("callora_test_%d_%x_%d", os.Getpid(), started, counter.Add(1))
	if err := s.admin("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.admin("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return s.urlOf(name)
}

// admin runs a command outside the tests' databases.
func (s *testServer) admin(command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := sqlx.ConnectContext(ctx, "postgres", s.urlOf("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.ExecContext(ctx, command)
	return err
}

func open(t testing.TB, address string) *sqlx.DB {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatalf("the address of the test's database: %v", err)
	}
	given := u.Query()
	given.Set("jit", "off") // as in the program's own sessions, and the next too
	given.Set("binary_parameters", "yes")
	u.RawQuery = given.Encode()
	pool, err := sqlx.Connect("postgres", u.String())
	if err != nil {
		t.Fatalf("connect to the test's database: %v", err)
	}
	pool.SetMaxOpenConns(poolSize)
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func migrate(t testing.TB, address string) {
	t.Helper()
	pool := open(t, address)
	defer pool.Close()
	if _, err := db.Up(context.Background(), pool.DB); err != nil {
		t.Fatal(err)
	}
}
