package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Config is how to reach the database. Zero values take the defaults named.
type Config struct {
	URL             string        // postgres://user:password@host:port/name?..., or key=value pairs as libpq takes them
	ApplicationName string        // callora; shown in pg_stat_activity
	MaxOpen         int           // 10 connections at most
	MaxIdle         int           // as MaxOpen: a connection costs more to open than to keep
	IdleTime        time.Duration // 5 m: then an idle connection is closed
	Lifetime        time.Duration // 1 h: then a connection is replaced, so that a failover is noticed in the end
	ConnectTimeout  time.Duration // 5 s

	// Settings are run-time parameters of every connection, e.g. plan_cache_mode. The URL's own win.
	Settings map[string]string
}

// Open returns a pool that has reached the database once. Its error says where it looked, never the password.
func Open(ctx context.Context, c Config) (*sqlx.DB, error) {
	c = c.filled()
	to, err := c.connector()
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(sql.OpenDB(to), "postgres")
	db.SetMaxOpenConns(c.MaxOpen)
	db.SetMaxIdleConns(c.MaxIdle)
	db.SetConnMaxIdleTime(c.IdleTime)
	db.SetConnMaxLifetime(c.Lifetime)

	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot reach the database at %s: %w", place(to.config), err), db.Close())
	}
	return db, nil
}

func (c Config) filled() Config {
	if c.ApplicationName == "" {
		c.ApplicationName = "callora"
	}
	if c.MaxOpen <= 0 {
		c.MaxOpen = 10
	}
	if c.MaxIdle <= 0 {
		c.MaxIdle = c.MaxOpen
	}
	if c.IdleTime <= 0 {
		c.IdleTime = 5 * time.Minute
	}
	if c.Lifetime <= 0 {
		c.Lifetime = time.Hour
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	return c
}

// dsn is the URL with what it leaves open: the application's name, the time to connect, and libpq's own default for TLS
// (use it when the server has it), where lib/pq would insist.
func (c Config) dsn() (string, error) {
	given, err := pq.NewConfig(c.URL)
	if err != nil {
		return "", fmt.Errorf("the database URL is wrong (want postgres://user:password@host:port/name): %s", c.redact(err))
	}
	more := url.Values{}
	if given.ApplicationName == "" {
		more.Set("application_name", c.ApplicationName)
	}
	if given.ConnectTimeout <= 0 {
		more.Set("connect_timeout", strconv.Itoa(int(max(c.ConnectTimeout.Round(time.Second), time.Second)/time.Second)))
	}
	if given.SSLMode == "" {
		more.Set("sslmode", string(pq.SSLModePrefer))
	}
	if u, isURL := c.asURL(); isURL {
		q := u.Query()
		for k := range more {
			q.Set(k, more.Get(k))
		}
		u.RawQuery = q.Encode()
		return u.String(), nil
	}
	pairs := c.URL
	for k := range more {
		pairs += " " + k + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(more.Get(k)) + "'"
	}
	return pairs, nil
}

// redact keeps the reason for refusing a URL, and none of the URL where it may hold a password.
func (c Config) redact(err error) string {
	u, isURL := c.asURL()
	if !isURL {
		return "not understood"
	}
	if password, _ := u.User.Password(); password != "" && strings.Contains(err.Error(), password) {
		return "not understood"
	}
	return err.Error()
}

func (c Config) asURL() (*url.URL, bool) {
	u, err := url.Parse(c.URL)
	return u, err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
}

func place(c pq.Config) string {
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) + " (database " + strconv.Quote(c.Database) + ")"
}
