package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
)

// gateway is `callora serve`, once or more often, on a database of its own, and how many charged answers it has given.
type gateway struct {
	name    string
	program string
	nodes   []*child
	db      *sqlx.DB
	url     string
	buyers  []buyer
	charged int
	ended   bool
}

// place says what gateway is wanted.
type place struct {
	name, mode string
	market     market
	nodes      int    // 0 is one
	program    string // "": the one under test
}

// start plants a marketplace in a new database, serves it, and sends one call with every key, so that all keys are known
// and all vaults have leases.
func (r *rig) start(ctx context.Context, p place) (_ *gateway, err error) {
	g := &gateway{name: p.name, program: cmp.Or(p.program, r.program)}
	if g.url, err = r.database(ctx, "bench_"+strconv.Itoa(len(r.ends))); err != nil {
		return nil, err
	}
	if err := r.run(ctx, g.program, g.url, "migrate", "up"); err != nil { // each program has its own schema
		return nil, err
	}
	if g.db, err = postgres.Open(ctx, postgres.Config{URL: g.url, MaxOpen: 2}); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, g.db.Close)
	upstreams := []string{"http://" + r.upstream.addr, "https://" + r.upstream.secure}
	if p.market.apis == 1 || p.market.apis > everyday.apis { // the spread is over plain HTTP
		upstreams = upstreams[:1]
	}
	if g.buyers, err = p.market.insert(ctx, g.db.DB, upstreams...); err != nil {
		return nil, err
	}
	if _, err := g.db.ExecContext(ctx, "ANALYZE"); err != nil { // as it would be after minutes of life
		return nil, err
	}
	r.ends = append(r.ends, g.stop)
	for range max(p.nodes, 1) {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(g.program, "serve")
		cmd.Dir = r.dir // no .env there
		cmd.Env = r.environ(g.url, addr, p.mode)
		node, err := spawnServer(ctx, p.name, addr, cmd)
		if err != nil {
			return nil, err
		}
		g.nodes = append(g.nodes, node)
	}
	for _, node := range g.nodes {
		l := load{addrs: []string{node.addr}, requests: firstCalls(g.buyers), conns: r.opt.conns}
		if err := g.took(l.each(ctx)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// firstCalls are a small call with each key.
func firstCalls(buyers []buyer) []request {
	all := make([]request, len(buyers))
	for i, b := range buyers {
		all[i] = newRequest(getQuote, b)
	}
	return all
}

// run runs a program of callora to its end.
func (r *rig) run(ctx context.Context, program, url string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = r.dir, r.environ(url, "127.0.0.1:0", async)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("callora %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// environ is the product's default configuration, but for what would stand in a load's way: the rate limit, and the guard
// against private upstreams. Idle leases end and their revenue is booked sooner than by default, so that the work that a
// round leaves behind is done when the next one begins.
func (r *rig) environ(url, addr, mode string) []string {
	_, port, _ := net.SplitHostPort(addr) // it was made of both
	env := []string{
		"APP_ENV=development", "HOST=127.0.0.1", "PORT=" + port, "DATABASE_URL=" + url, "METERING_MODE=" + mode, "LOG_LEVEL=" + r.opt.logLevel,
		"JWT_SECRET=bench-" + newID().String(), "ADMIN_API_KEY=bench-" + newID().String(), "METRICS_API_KEY=bench-" + newID().String(),
		"GATEWAY_RATE_LIMIT_PER_MINUTE=0", "UPSTREAM_HOST_ALLOWLIST=" + r.upstream.addr + "," + r.upstream.secure, r.tls.trusted(),
		"LEASE_IDLE_MS=500", "REVENUE_LEDGER_INDEXER_INTERVAL_MS=500",
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOMAXPROCS", "GODEBUG"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, r.opt.serveEnv...)
}

// took counts the charged answers of a load.
func (g *gateway) took(t tally, err error) error {
	g.charged += t.calls
	if err != nil {
		for _, node := range g.nodes {
			err = node.whyFailed(err)
		}
	}
	return err
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

// stop ends the processes in good order.
func (g *gateway) stop() (err error) {
	if g.ended {
		return nil
	}
	g.ended = true
	for _, node := range g.nodes {
		err = errors.Join(err, node.stop())
	}
	return err
}

// books are a gateway's accounts at its end.
type books struct {
	Gateway  string `json:"gateway"`
	Charged  int    `json:"chargedAnswers"`
	Events   int    `json:"usageEvents"`
	HeldLeft int64  `json:"heldStroops"`
	Audit    string `json:"auditError,omitempty"`
}

// right reports whether every charged answer, and nothing else, was recorded and paid for.
func (b books) right() bool { return b.Charged == b.Events && b.HeldLeft == 0 && b.Audit == "" }

// close ends the processes and audits what they leave behind.
func (g *gateway) close(ctx context.Context, r *rig) (books, error) {
	if err := g.stop(); err != nil {
		return books{}, err
	}
	b := books{Gateway: g.name, Charged: g.charged}
	if err := r.run(ctx, g.program, g.url, "audit", "--full"); err != nil {
		b.Audit = err.Error()
	}
	return b, errors.Join(
		g.db.GetContext(ctx, &b.Events, `SELECT count(*) FROM usage_events`),
		g.db.GetContext(ctx, &b.HeldLeft, `SELECT sum(held) FROM vaults`),
	)
}
