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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/adapters/pgserver"
	"github.com/CalloraOrg/callora-backend/db"
)

// Env names the variable with the address of a server to use instead of a private one. Its user must be allowed to
// create databases.
const Env = "TEST_DATABASE_URL"

const poolSize = 20

var (
	startOnce sync.Once
	shared    struct {
		urlOf    func(database string) string
		template string
		err      error
	}
	counter atomic.Int64
)

// New returns a pool on a new, migrated database that is dropped at the end of the test.
func New(t testing.TB) *sqlx.DB {
	t.Helper()
	return open(t, URL(t))
}

// URL returns the address of a new, migrated database that is dropped at the end of the test.
func URL(t testing.TB) string {
	t.Helper()
	startOnce.Do(startShared)
	if shared.err != nil {
		t.Fatalf("PostgreSQL for the tests: %v", shared.err)
	}
	return create(t, shared.template)
}

// Empty returns the address of a new database without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	URL(t) // the server, with its errors
	return create(t, "template0")
}

func create(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("callora_test_%d_%d_%d", os.Getpid(), time.Now().UnixMilli()%100_000_000, counter.Add(1))
	admin := func(query string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := sqlx.ConnectContext(ctx, "postgres", shared.urlOf("postgres"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.ExecContext(ctx, query)
		return err
	}
	if err := admin("CREATE DATABASE " + pq.QuoteIdentifier(name) + " TEMPLATE " + pq.QuoteIdentifier(template)); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := admin("DROP DATABASE IF EXISTS " + pq.QuoteIdentifier(name) + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return shared.urlOf(name)
}

func open(t testing.TB, address string) *sqlx.DB {
	t.Helper()
	pool, err := sqlx.Connect("postgres", address)
	if err != nil {
		t.Fatalf("connect to the test's database: %v", err)
	}
	pool.SetMaxOpenConns(poolSize)
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// startShared finds the server and makes the template. The kernel ends the private server with the test process.
func startShared() {
	shared.err = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if given := os.Getenv(Env); given != "" {
			u, err := url.Parse(given)
			if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
				return fmt.Errorf("%s is not a postgres:// address", Env)
			}
			shared.urlOf = func(database string) string {
				other := *u
				other.Path = "/" + database
				return other.String()
			}
		} else {
			sweep()
			server, err := pgserver.Start(ctx, pgserver.Config{DataDir: privateDir()})
			if err != nil {
				return err
			}
			shared.urlOf = server.URL
		}
		shared.template = fmt.Sprintf("callora_template_%d", os.Getpid())
		return makeTemplate(ctx)
	}()
}

func makeTemplate(ctx context.Context) error {
	admin, err := sqlx.ConnectContext(ctx, "postgres", shared.urlOf("postgres"))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer admin.Close()
	name := pq.QuoteIdentifier(shared.template)
	for _, query := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name + " TEMPLATE template0"} {
		if _, err := admin.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("make the template: %w", err)
		}
	}
	template, err := sqlx.ConnectContext(ctx, "postgres", shared.urlOf(shared.template))
	if err != nil {
		return fmt.Errorf("connect to the template: %w", err)
	}
	defer template.Close()
	_, err = db.Up(ctx, template.DB)
	return err
}

// Server is a private server that a test may kill.
type Server struct{ *pgserver.Server }

// NewServer starts a server for one test, with a migrated database named callora. Writes survive its Kill.
func NewServer(t testing.TB) Server {
	t.Helper()
	s, err := pgserver.Start(context.Background(), pgserver.Config{Durable: true})
	if err != nil {
		t.Fatalf("PostgreSQL for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	admin := open(t, s.URL("postgres"))
	if _, err := admin.Exec("CREATE DATABASE callora"); err != nil {
		t.Fatal(err)
	}
	_ = admin.Close()
	pool := open(t, s.URL("callora"))
	if _, err := db.Up(context.Background(), pool.DB); err != nil {
		t.Fatal(err)
	}
	_ = pool.Close()
	return Server{s}
}

// DatabaseURL is the address of the server's migrated database.
func (s Server) DatabaseURL() string { return s.URL("callora") }
