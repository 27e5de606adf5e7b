package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/demoupstream"
	"github.com/CalloraOrg/callora-backend/adapters/logging"
	"github.com/CalloraOrg/callora-backend/adapters/pgserver"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/api"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

const (
	tokenLife    = 24 * time.Hour
	demoDatabase = "callora"
)

type demoFlags struct {
	port int
	data string
	json bool
}

func demoCommand() *command {
	var d demoFlags
	return &command{
		name:    "demo",
		summary: "everything on this machine: PostgreSQL, a seeded marketplace, its upstreams, API and gateway",
		help: `
Needs nothing but this program. PostgreSQL is found on the machine or fetched (CALLORA_POSTGRES_BIN names its folder of programs);
it runs privately, on loopback. Secrets are random. Variables of .env.example that set limits, METERING_MODE or LOG_LEVEL work
here too; rate limits are wide unless set. Ctrl-C stops everything.`,
		flags: func(f *flag.FlagSet) {
			f.IntVar(&d.port, "port", 3000, "`N`: the port to serve on, 0: any free one")
			f.StringVar(&d.data, "data", "", "`DIR`: keep the data there for the next demo (default: a temporary folder)")
			f.BoolVar(&d.json, "json", false, "when ready, print one line of JSON on stdout; logs go to stderr")
		},
		run: func(ctx context.Context, c console, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			if d.port < 0 || d.port > 65535 {
				return usageError("--port must be between 0 and 65535")
			}
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			defer stop()
			err := d.run(ctx, stop, c)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // stopped before it was ready, as asked
			}
			return err
		},
	}
}

// run starts the parts one after the other and ends them in the opposite order, whatever happens.
func (d demoFlags) run(ctx context.Context, stop func(), c console) (err error) {
	end := func(what func() error) { err = errors.Join(err, what()) }

	dir, err := openDemoDir(d.data)
	if err != nil {
		return err
	}
	defer func() { end(dir.close) }()
	state, err := loadDemoState(dir.path, system.NewID)
	if err != nil {
		return err
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{DataDir: filepath.Join(dir.path, "postgres"), Durable: true})
	if err != nil {
		return err
	}
	defer func() { end(pg.Stop) }()
	upstream, err := startUpstream(ctx)
	if err != nil {
		return err
	}
	defer func() { end(upstream.Close) }()

	cfg, err := d.config(state, pg.URL(demoDatabase), upstream.Addr)
	if err != nil {
		return err
	}
	log, flush, err := logging.New(logging.Config{Level: cfg.LogLevel, Out: c.err, Secrets: append(cfg.Secrets(), state.APIKey)})
	if err != nil {
		return err
	}
	defer func() { _ = flush() }() // stderr is gone; nobody is left to be told
	if err := createDatabase(ctx, pg.URL("postgres"), demoDatabase); err != nil {
		return err
	}
	if err := plantDemo(ctx, cfg, state, "http://"+upstream.Addr); err != nil {
		return err
	}
	tuneMemory()
	n, err := startNode(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { end(func() error { return n.stop(cfg.ShutdownFor.D()) }) }()

	report, err := d.report(n, cfg, state, upstream.Addr, dir.path)
	if err != nil {
		return err
	}
	show := report.print
	if d.json {
		show = report.printJSON
	}
	if err := show(c.out); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-n.failed():
		err = errors.New("the HTTP server stopped by itself")
	}
	stop() // from here on a signal ends the process at once
	log.Info("shutting down", zap.String("data", dir.path))
	return err
}

// config is the environment's, with what the demo brings itself on top.
func (d demoFlags) config(s demoState, database, upstream string) (*Config, error) {
	level := "warn"
	if d.json {
		level = "info"
	}
	environ := map[string]string{
		"APP_ENV": "development", "GATEWAY_RATE_LIMIT_PER_MINUTE": "60000", "REST_RATE_LIMIT_MAX_REQUESTS": "6000",
		"REVENUE_LEDGER_INDEXER_INTERVAL_MS": "2000",
	}
	maps.Copy(environ, env.ToMap(os.Environ()))
	maps.Copy(environ, map[string]string{
		"HOST": "127.0.0.1", "PORT": strconv.Itoa(d.port), "DATABASE_URL": database, "JWT_SECRET": s.JWTSecret, "ADMIN_API_KEY": s.AdminKey,
		"METRICS_API_KEY": s.MetricsKey, "UPSTREAM_HOST_ALLOWLIST": upstream, "LOG_LEVEL": cmp.Or(os.Getenv("LOG_LEVEL"), level),
	})
	return ParseConfig(environ, serving)
}

func startUpstream(ctx context.Context) (*http.Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the demo's upstream: %w", err)
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: demoupstream.Handler(), ReadHeaderTimeout: headerTimeout}
	go s.Serve(l) //nolint:errcheck // ends with Close
	return s, nil
}

func plantDemo(ctx context.Context, cfg *Config, s demoState, upstream string) error {
	handle, err := openDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	defer handle.Close()
	if _, err := db.Up(ctx, handle.DB); err != nil {
		return err
	}
	seed := market(upstream, cfg.Stellar.Network)
	seed.Keys = []apikey.Key{marketKey(s.APIKeyID, s.APIKey, system.Now())}
	_, err = postgres.Plant(ctx, handle, seed)
	return err
}

func (d demoFlags) report(n *node, cfg *Config, s demoState, upstream, dir string) (demoReport, error) {
	tokens := api.Tokens{Secret: []byte(cfg.JWTSecret)}
	now := system.Now()
	consumer, err := tokens.Mint(seedConsumer, tokenLife, now)
	if err != nil {
		return demoReport{}, err
	}
	developer, err := tokens.Mint(seedSellerOne, tokenLife, now)
	if err != nil {
		return demoReport{}, err
	}
	origin := "http://" + n.addr()
	return demoReport{
		API: origin, Gateway: origin, APIKey: s.APIKey, APISlug: paidSlug, PaidPath: paidPath, PriceUSDC: paidPrice.String(),
		ConsumerToken: consumer, DeveloperToken: developer, AdminKey: s.AdminKey, MetricsKey: s.MetricsKey,
		DatabaseURL: string(cfg.Database.URL), Upstream: "http://" + upstream, Data: dir,
	}, nil
}
