package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
)

// Postgres is what opens the pool that the configuration asks for.
func (d Database) Postgres() postgres.Config {
	return postgres.Config{
		URL: string(d.URL), MaxOpen: d.PoolMax, IdleTime: d.IdleTimeout.D(), ConnectTimeout: d.ConnTimeout.D(),
	}
}

func (d Database) check(given map[string]string, fail func(string, ...any)) {
	if given["DATABASE_URL"] == "" {
		any := false
		for _, name := range []string{"DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME"} {
			any = any || given[name] != ""
		}
		if !any {
			fail("DATABASE_URL is missing: set it, e.g. postgres://user:password@localhost:5432/callora, or set DB_HOST, DB_PORT, " +
				"DB_USER, DB_PASSWORD and DB_NAME")
		}
		if d.DBPort < 1 || d.DBPort > 65535 {
			fail("DB_PORT must be between 1 and 65535")
		}
		return
	}
	u, err := url.Parse(string(d.URL))
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || strings.Trim(u.Path, "/") == "" {
		fail("DATABASE_URL must look like postgres://user:password@host:5432/database")
	}
}

// prismaOnly are parameters that other tools put into the URL and that PostgreSQL would refuse.
var prismaOnly = []string{"connection_limit", "pool_timeout", "pgbouncer", "statement_cache_size", "socket_timeout", "sslaccept"}

// connectionURL is the URL for the driver. Prisma's ?schema= becomes the search path it means.
func (d Database) connectionURL() string {
	if d.URL == "" {
		u := url.URL{
			Scheme: "postgres", User: url.UserPassword(d.User, string(d.Password)),
			Host: net.JoinHostPort(d.DBHost, strconv.Itoa(d.DBPort)), Path: "/" + d.Name,
		}
		return u.String()
	}
	u, err := url.Parse(string(d.URL))
	if err != nil {
		return string(d.URL) // check has refused it
	}
	q := u.Query()
	if schema := q.Get("schema"); schema != "" {
		q.Del("schema")
		q.Set("search_path", schema)
	}
	for _, name := range prismaOnly {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
