package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
)

// gateway is `callora serve` on a database of its own, and how many charged answers it has given.
type gateway struct {
	name     string
	child    *child
	db       *sqlx.DB
	lead     time.Duration
	conns    int
	requests []request
	charged  int
	ended    bool
}

// start plants a marketplace in a new database, serves it, and sends one call with every key, so that all keys are known
// and all vaults have leases.
func (r *rig) start(ctx context.Context, name, mode string, m market) (_ *gateway, err error) {
	g := &gateway{name: name, conns: r.opt.conns, lead: r.opt.warmUp}
	url, err := r.database(ctx, "bench_"+name)
	if err != nil {
		return nil, err
	}
	if g.db, err = postgres.Open(ctx, postgres.Config{URL: url, MaxOpen: 2}); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, g.db.Close)
	if g.requests, err = m.insert(ctx, g.db.DB, "http://"+r.upstream.addr); err != nil {
		return nil, err
	}
	if _, err := g.db.ExecContext(ctx, "ANALYZE"); err != nil { // as it would be after minutes of life
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(r.program, "serve")
	cmd.Dir = r.dir // no .env there
	cmd.Env = r.environ(url, addr, mode)
	if g.child, err = spawnServer(ctx, name, addr, cmd); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, g.stop)
	t, err := g.load().each(ctx)
	return g, g.took(t, err)
}

// environ is the product's default configuration, but for what would stand in a load's way: the rate limit, and the guard
// against private upstreams. Idle leases end and their revenue is booked sooner than by default, so that the work that a
// round leaves behind is done when the next one begins.
func (r *rig) environ(url, addr, mode string) []string {
	_, port, _ := net.SplitHostPort(addr) // it was made of both
	env := []string{
		"APP_ENV=development", "HOST=127.0.0.1", "PORT=" + port, "DATABASE_URL=" + url, "METERING_MODE=" + mode, "LOG_LEVEL=" + r.opt.logLevel,
		"JWT_SECRET=bench-" + newID().String(), "ADMIN_API_KEY=bench-" + newID().String(), "METRICS_API_KEY=bench-" + newID().String(),
		"GATEWAY_RATE_LIMIT_PER_MINUTE=0", "UPSTREAM_HOST_ALLOWLIST=" + r.upstream.addr,
		"LEASE_IDLE_MS=500", "REVENUE_LEDGER_INDEXER_INTERVAL_MS=500",
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOMAXPROCS", "GODEBUG"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, r.opt.serveEnv...)
}

// load is a load on all of the gateway's keys.
func (g *gateway) load() load { return load{g.child.addr, g.requests, g.conns, g.lead} }

// took counts the charged answers of a load.
func (g *gateway) took(t tally, err error) error {
	g.charged += t.calls
	if err != nil {
		return g.child.whyFailed(err)
	}
	return nil
}

// quiet returns when the gateway has nothing left to do: no open lease, no revenue to book.
func (g *gateway) quiet(ctx context.Context) error {
	err := waitUntil(ctx, time.Minute, func() (bool, error) {
		var busy bool
		err := g.db.GetContext(ctx, &busy, `SELECT EXISTS (SELECT FROM leases WHERE state = 'open' OR indexed_at IS NULL)`)
		return !busy, err
	})
	if err != nil {
		return fmt.Errorf("%s still has open leases or revenue to book: %w", g.name, err)
	}
	return nil
}

// stop ends the process in good order.
func (g *gateway) stop() error {
	if g.ended {
		return nil
	}
	g.ended = true
	return g.child.stop()
}

// books are a gateway's accounts at its end.
type books struct {
	Gateway  string   `json:"gateway"`
	Charged  int      `json:"chargedAnswers"`
	Events   int      `json:"usageEvents"`
	HeldLeft int64    `json:"heldStroops"`
	Broken   []string `json:"brokenInvariants,omitempty"`
}

// right reports whether every charged answer, and nothing else, was recorded and paid for.
func (b books) right() bool { return b.Charged == b.Events && b.HeldLeft == 0 && len(b.Broken) == 0 }

// close ends the process and audits what it leaves behind.
func (g *gateway) close(ctx context.Context) (books, error) {
	if err := g.stop(); err != nil {
		return books{}, err
	}
	b := books{Gateway: g.name, Charged: g.charged}
	return b, errors.Join(
		g.db.GetContext(ctx, &b.Events, `SELECT count(*) FROM usage_events`),
		g.db.GetContext(ctx, &b.HeldLeft, `SELECT sum(held) FROM vaults`),
		audit(ctx, g.db, &b.Broken),
	)
}

// audit names the invariants of the money that do not hold.
func audit(ctx context.Context, db *sqlx.DB, broken *[]string) error {
	all, err := postgres.NewAuditor(db).Invariants(ctx)
	for _, i := range all {
		if !i.Holds() {
			*broken = append(*broken, fmt.Sprintf("%s: %s %s, %s %s", i.Name, i.LeftName, i.Left, i.RightName, i.Right))
		}
	}
	return err
}
