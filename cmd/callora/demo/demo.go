// Package demo runs a whole marketplace on one machine.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/lib/pq"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/demoupstream"
	"github.com/CalloraOrg/callora-backend/adapters/logging"
	"github.com/CalloraOrg/callora-backend/adapters/pgserver"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/cmd/callora/seed"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

const (
	tokenLife     = 24 * time.Hour
	databaseName  = "callora"
	headerTimeout = 10 * time.Second
)

// Host is where a demo listens: nobody else's business.
const Host = "127.0.0.1"

// Options is what the command line decides.
type Options struct {
	Port     int
	Data     string // folder that is kept; "": a temporary one
	JSON     bool   // one line of JSON when ready
	Out, Err io.Writer
}

// Node is a running backend.
type Node interface {
	Addr() string
	Failed() <-chan struct{} // closed when it serves no more
	Stop() error
}

// Start starts a backend.
type Start func(ctx context.Context, cfg *config.Config, log *zap.Logger) (Node, error)

// Run starts the parts one after the other and ends them in the opposite order, whatever happens. It ends
// when ctx does.
func Run(ctx context.Context, o Options, start Start) (err error) {
	end := func(what func() error) { err = errors.Join(err, what()) }

	dir, err := openFolder(o.Data)
	if err != nil {
		return err
	}
	defer func() { end(dir.close) }()
	state, err := loadState(dir.path, system.NewID)
	if err != nil {
		return err
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{DataDir: filepath.Join(dir.path, "postgres"), Durable: true, Told: o.Err})
	if err != nil {
		return err
	}
	defer func() { end(pg.Stop) }()
	upstream, err := startUpstream(ctx)
	if err != nil {
		return err
	}
	defer func() { end(upstream.Close) }()

	cfg, err := o.config(state, pg.URL(databaseName), upstream.Addr)
	if err != nil {
		return err
	}
	log, flush, err := logging.New(logging.Config{Level: cfg.LogLevel, Out: o.Err, Secrets: append(cfg.Secrets(), state.APIKey)})
	if err != nil {
		return err
	}
	defer func() { _ = flush() }() // stderr is gone; nobody is left to be told
	if err := createDatabase(ctx, pg.URL("postgres"), databaseName); err != nil {
		return err
	}
	if err := plant(ctx, cfg, state, "http://"+upstream.Addr); err != nil {
		return err
	}
	n, err := start(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { end(n.Stop) }()

	report, err := o.report(n, cfg, state, upstream.Addr, dir.path)
	if err != nil {
		return err
	}
	show := report.print
	if o.JSON {
		show = report.printJSON
	}
	if err := show(o.Out); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-n.Failed():
		err = errors.New("the HTTP server stopped by itself")
	}
	log.Info("shutting down", zap.String("data", dir.path))
	return err
}

// ownMachine lets the user's own APIs stand behind the gateway. Only this machine can reach a demo.
const ownMachine = "localhost,127.0.0.0/8,::1"

// config is the environment's, with what the demo brings itself on top.
func (o Options) config(s state, database, upstream string) (*config.Config, error) {
	level := "warn"
	if o.JSON {
		level = "info"
	}
	environ := map[string]string{
		"APP_ENV": "development", "GATEWAY_RATE_LIMIT_PER_MINUTE": "60000", "REST_RATE_LIMIT_MAX_REQUESTS": "6000",
		"REST_PUBLIC_RATE_LIMIT_MAX_REQUESTS": "6000", "GATEWAY_UNKNOWN_KEY_RATE_LIMIT_PER_MINUTE": "6000",
		"REVENUE_LEDGER_INDEXER_INTERVAL_MS": "2000",
	}
	maps.Copy(environ, env.ToMap(os.Environ()))
	maps.Copy(environ, map[string]string{
		"HOST": Host, "PORT": strconv.Itoa(o.Port), "DATABASE_URL": database, "JWT_SECRET": s.JWTSecret, "ADMIN_API_KEY": s.AdminKey,
		"METRICS_API_KEY": s.MetricsKey, "UPSTREAM_HOST_ALLOWLIST": strings.Join([]string{os.Getenv("UPSTREAM_HOST_ALLOWLIST"), upstream, ownMachine}, ","),
		"LOG_LEVEL": cmp.Or(os.Getenv("LOG_LEVEL"), level),
	})
	return config.Parse(environ, config.Serving)
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

func plant(ctx context.Context, cfg *config.Config, s state, upstream string) error {
	handle, err := postgres.Open(ctx, cfg.Database.Postgres())
	if err != nil {
		return err
	}
	defer handle.Close()
	if _, err := db.Up(ctx, handle.DB); err != nil {
		return err
	}
	data := seed.Marketplace(upstream, cfg.Stellar.Network)
	data.Keys = []apikey.Key{seed.Key(s.APIKeyID, s.APIKey, system.Now())}
	_, err = postgres.InsertSeed(ctx, handle, data)
	return err
}

func (o Options) report(n Node, cfg *config.Config, s state, upstream, dir string) (Report, error) {
	tokens := edge.Tokens{Secret: []byte(cfg.JWTSecret)}
	now := system.Now()
	consumer, err := tokens.Mint(seed.Consumer, tokenLife, now)
	if err != nil {
		return Report{}, err
	}
	developer, err := tokens.Mint(seed.SellerOne, tokenLife, now)
	if err != nil {
		return Report{}, err
	}
	origin := "http://" + n.Addr()
	return Report{
		API: origin, Gateway: origin, APIKey: s.APIKey, APISlug: seed.PaidSlug, PaidPath: seed.PaidPath, PriceUSDC: seed.PaidPrice.String(),
		ConsumerToken: consumer, DeveloperToken: developer, AdminKey: s.AdminKey, MetricsKey: s.MetricsKey,
		DatabaseURL: string(cfg.Database.URL), Upstream: "http://" + upstream, Data: dir,
	}, nil
}

// createDatabase makes a database on the server of address, unless it is there.
func createDatabase(ctx context.Context, address, name string) error {
	handle, err := postgres.Open(ctx, postgres.Config{URL: address, MaxOpen: 1})
	if err != nil {
		return err
	}
	defer handle.Close()
	var there bool
	if err := handle.GetContext(ctx, &there, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name); err != nil || there {
		return err
	}
	_, err = handle.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name))
	return err
}
