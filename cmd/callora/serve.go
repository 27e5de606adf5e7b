package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/logging"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
)

func serveCommand() *command {
	var migrate, check bool
	return &command{
		name:    "serve",
		summary: "run the REST API and the gateway",
		help: `
Serves the REST API under /api, and the gateway under /v1/call, on PORT. Needs DATABASE_URL (or the DB_* fields), JWT_SECRET,
ADMIN_API_KEY and METRICS_API_KEY; .env.example has a sentence on every variable. Logs are JSON lines on stderr.

SIGTERM, SIGHUP or Ctrl-C: no new connections, calls in flight and unwritten charges are finished within SHUTDOWN_TIMEOUT_MS,
exit code 0. Calls that last longer are cut. Exit code 1: something else was left undone, the log says what. A second signal
ends the process at once; its leases then expire and nothing is lost but time.`,
		flags: func(f *flag.FlagSet) {
			f.BoolVar(&migrate, "migrate", false, "bring the schema up to date first (as MIGRATE_ON_START=true)")
			f.BoolVar(&check, "check", false, "ask the server on this machine's PORT whether it is healthy, and exit (0: yes)")
		},
		run: func(ctx context.Context, c console, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			if check {
				return checkHealth(ctx)
			}
			cfg, err := config.Load(config.Serving)
			if err != nil {
				return err
			}
			cfg.Database.MigrateOnStart = cfg.Database.MigrateOnStart || migrate
			return serve(ctx, c, cfg)
		},
	}
}

func serve(ctx context.Context, c console, cfg *config.Config) error {
	tuneRuntime()
	log, flush, err := logging.New(logging.Config{Level: cfg.LogLevel, Out: c.err, Secrets: cfg.Secrets()})
	if err != nil {
		return err
	}
	defer flush() //nolint:errcheck // stderr is gone; nobody is left to be told
	for _, note := range cfg.Notes {
		log.Warn(note)
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	n, err := startNode(ctx, cfg, log)
	if err != nil {
		return err
	}
	log.Info("listening", zap.String("addr", n.Addr()), zap.String("env", cfg.Env), zap.String("metering", string(cfg.Metering.Mode)))
	_ = log.Sync() // whoever waits for this line should not wait for the buffer
	select {
	case <-ctx.Done():
	case <-n.Failed():
		err = fmt.Errorf("the HTTP server stopped by itself")
	}
	log.Info("shutting down")
	if stopErr := n.Stop(); stopErr != nil {
		log.Error("stopped, and left something undone", zap.Error(stopErr))
		return errSaid
	}
	log.Info("stopped")
	return err
}

// untilSignal is ctx until the process is asked to end. Whoever hears of that can rely on it that a second signal ends the
// process at once.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, endSignals()...)
	go func() {
		select {
		case <-asked:
		case <-ctx.Done():
		}
		signal.Stop(asked)
		cancel()
	}()
	return ctx, cancel
}

// endSignals ask for a clean end. A hang-up is one of them, unless whoever started the process wants it to outlive its
// terminal (nohup).
func endSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// checkHealth is the health check of containers that hold nothing but this binary.
func checkHealth(ctx context.Context) error {
	address, err := config.CheckAddress()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/health", nil)
	if err != nil {
		return fmt.Errorf("HOST and PORT do not make an address: %s", address)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %s", res.Status)
	}
	return nil
}
