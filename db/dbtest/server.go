package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/pgserver"
	"github.com/CalloraOrg/callora-backend/db"
)

const startTimeout = 10 * time.Minute // PostgreSQL may have to be fetched

var started = time.Now().UnixNano()

// testServer holds the databases of this process's tests.
type testServer struct {
	urlOf    func(database string) string
	template string // a migrated database to copy; "" on a server that is not ours: nobody would drop it there
	years    sync.Once
}

var startOnce = sync.OnceValues(func() (*testServer, error) {
	if given := os.Getenv(Env); given != "" {
		return givenServer(given)
	}
	return privateServer()
})

func server(t testing.TB) *testServer {
	t.Helper()
	s, err := startOnce()
	if err != nil {
		t.Fatalf("PostgreSQL for the tests (or set %s): %v", Env, err)
	}
	return s
}

func givenServer(address string) (*testServer, error) {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return nil, fmt.Errorf("%s is not a postgres:// address", Env)
	}
	return &testServer{urlOf: func(database string) string {
		other := *u
		other.Path = "/" + database
		return other.String()
	}}, nil
}

// privateServer starts a server that nobody stops: it ends with the test process, and its folder with it.
func privateServer() (*testServer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	pg, err := pgserver.Start(ctx, pgserver.Config{})
	if err != nil {
		return nil, err
	}
	s := &testServer{urlOf: pg.URL, template: "callora_template"}
	return s, makeTemplate(ctx, s)
}

func makeTemplate(ctx context.Context, s *testServer) error {
	if err := s.admin("CREATE DATABASE " + s.template + " TEMPLATE template0"); err != nil {
		return fmt.Errorf("make the template: %w", err)
	}
	template, err := sqlx.ConnectContext(ctx, "postgres", s.urlOf(s.template))
	if err != nil {
		return fmt.Errorf("connect to the template: %w", err)
	}
	defer template.Close()
	_, err = db.Up(ctx, template.DB)
	return err
}

// Server is a private server that a test may kill.
type Server struct{ *pgserver.Server }

// NewServer starts a server for one test, with a migrated database. Commits survive its Kill.
func NewServer(t testing.TB) Server {
	t.Helper()
	pg, err := pgserver.Start(context.Background(), pgserver.Config{Durable: true})
	if err != nil {
		t.Fatalf("PostgreSQL for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	s := Server{pg}
	admin := open(t, pg.URL("postgres"))
	defer admin.Close()
	if _, err := admin.Exec("CREATE DATABASE callora"); err != nil {
		t.Fatal(err)
	}
	migrate(t, s.DatabaseURL())
	return s
}

// DatabaseURL is the address of the server's migrated database.
func (s Server) DatabaseURL() string { return s.URL("callora") }
