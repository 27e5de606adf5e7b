package postgres

import (
	"crypto/tls"
	"database/sql"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

func TestWhatHasNoContextEndsOnASilentNetworkToo(t *testing.T) {
	t.Parallel()
	pool := func(t *testing.T) (*dbtest.Proxy, *sqlx.DB) {
		p := dbtest.NewProxy(t, dbtest.URL(t))
		to, err := Config{URL: p.URL(), ConnectTimeout: time.Second}.connector()
		if err != nil {
			t.Fatal(err)
		}
		to.endTimeout = given
		db := sqlx.NewDb(sql.OpenDB(to), "postgres")
		t.Cleanup(func() { db.Close() })
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		return p, db
	}
	t.Run("begin", func(t *testing.T) {
		t.Parallel()
		p, db := pool(t)
		p.Silence()
		bounded(t, given, func() error { _, err := db.Begin(); return err })
	})
	t.Run("commit", func(t *testing.T) {
		t.Parallel()
		p, db := pool(t)
		tx := db.MustBegin()
		p.Silence()
		bounded(t, given, tx.Commit)
	})
	t.Run("rollback", func(t *testing.T) {
		t.Parallel()
		p, db := pool(t)
		tx := db.MustBegin()
		p.Silence()
		bounded(t, given, tx.Rollback)
	})
	t.Run("a new connection", func(t *testing.T) {
		t.Parallel()
		p, db := pool(t)
		db.SetMaxIdleConns(-1)
		p.Silence()
		bounded(t, time.Second, db.Ping)
	})
	t.Run("close with prepared statements", func(t *testing.T) {
		t.Parallel()
		p, db := pool(t)
		for range 3 {
			if _, err := db.Prepare(`SELECT 1`); err != nil {
				t.Fatal(err)
			}
		}
		p.Silence()
		bounded(t, closeTimeout, func() error { _ = db.Close(); return sql.ErrConnDone })
	})
}

func TestATransactionThatOutlivesTheBoundOfItsEndIsNotCut(t *testing.T) {
	t.Parallel()
	to, err := Config{URL: dbtest.URL(t)}.connector()
	if err != nil {
		t.Fatal(err)
	}
	to.endTimeout = given
	db := sqlx.NewDb(sql.OpenDB(to), "postgres")
	defer db.Close()
	tx := db.MustBegin()
	if _, err := tx.Exec(`SELECT pg_sleep($1)`, 2*given.Seconds()); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}

func TestIdleConnectionsOfBeforeASilenceCostNobodyTheirDeadline(t *testing.T) {
	t.Parallel()
	p, db, address := beyond(t)
	var held []*sqlx.Conn
	for range 4 {
		c, err := db.Connx(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held {
		c.Close()
	}
	p.Silence()
	_, _ = db.ExecContext(within(t, given), `SELECT 1`) // the first one notices
	p.Heal(t, address)
	for range 8 {
		if _, err := db.ExecContext(within(t, slack), `SELECT 1`); err != nil {
			t.Error(err)
		}
	}
}

func TestACancelledQueryOnASoundNetworkEndsInOrder(t *testing.T) {
	t.Parallel()
	db, err := Open(t.Context(), Config{URL: dbtest.URL(t), MaxOpen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stmt, err := db.Prepare(`SELECT pg_sleep($1)`)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		begun := time.Now()
		if _, err := stmt.ExecContext(within(t, given), 60); err == nil {
			t.Error("it was not cancelled")
		}
		if took := time.Since(begun); took > given+cancelGrace {
			t.Errorf("it took %v: the server was asked to cancel and did", took)
		}
		if _, err := stmt.ExecContext(t.Context(), 0); err != nil { // on a connection that no late cancellation can strike
			t.Error(err)
		}
	}
}

// lib/pq itself goes on with the connection of a prepared statement that was cancelled. The request may strike what runs next.
func TestAConnectionThatWasCancelledIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	db, err := Open(t.Context(), Config{URL: dbtest.URL(t), MaxOpen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stmt, err := db.Prepare(`SELECT pg_sleep($1)`)
	if err != nil {
		t.Fatal(err)
	}
	var before, after int
	if err := db.Get(&before, `SELECT pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	if _, err := stmt.ExecContext(within(t, given), 60); err == nil {
		t.Error("it was not cancelled")
	}
	if err := db.Get(&after, `SELECT pg_backend_pid()`); err != nil || after == before {
		t.Errorf("session %d after %d, %v; want another", after, before, err)
	}
}

func TestASilentNetworkUnderTLSEndsWaitsToo(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	p := dbtest.NewProxy(t, address)
	db, err := Open(t.Context(), Config{URL: underTLS(t, p.URL()), MaxOpen: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stmt, err := db.Prepare(`SELECT $1::int`)
	if err != nil {
		t.Fatal(err)
	}
	p.Silence()
	ctx := within(t, given)
	bounded(t, given+cancelGrace, func() error { _, err := stmt.ExecContext(ctx, 1); return err })
	p.Heal(t, address)
	recovers(t, db)
}

func TestASilenceLeavesNoGoroutinesBehind(t *testing.T) {
	// not parallel: it counts goroutines
	address := dbtest.URL(t)
	before := goleak.IgnoreCurrent()
	t.Run("silence", func(t *testing.T) {
		p := dbtest.NewProxy(t, address)
		db, err := Open(t.Context(), Config{URL: p.URL(), MaxOpen: 3, ConnectTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		tx, err := db.BeginTx(within(t, given), nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Silence()
		_, _ = db.ExecContext(within(t, given), `SELECT 1`)
		_ = db.PingContext(within(t, given))
		_ = tx.Commit()
		db.Close()
	})
	goleak.VerifyNone(t, before)
}

// underTLS returns the address of a front that speaks TLS for the server of address.
func underTLS(t *testing.T, address string) string {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	server := u.Host
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				behind, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer behind.Close()
				if _, err := io.ReadFull(c, make([]byte, 8)); err != nil { // SSLRequest
					return
				}
				_, _ = c.Write([]byte{'S'})
				secure := tls.Server(c, web.TLS)
				go io.Copy(behind, secure) //nolint:errcheck // ends with the test
				_, _ = io.Copy(secure, behind)
			}()
		}
	}()
	u.Host = l.Addr().String()
	u.RawQuery = "sslmode=require"
	return u.String()
}
