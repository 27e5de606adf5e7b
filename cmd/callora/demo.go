package main

import (
	"context"
	"errors"
	"flag"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/cmd/callora/demo"
)

func demoCommand() *command {
	var o demo.Options
	return &command{
		name:    "demo",
		summary: "everything on this machine: PostgreSQL, a seeded marketplace, its upstreams, API and gateway",
		help: `
Needs nothing but this program. PostgreSQL is found on the machine or fetched (CALLORA_POSTGRES_BIN names its folder of programs);
it runs privately, on loopback. Secrets are random. Variables of .env.example that set limits, METERING_MODE or LOG_LEVEL work
here too; rate limits are wide unless set. Ctrl-C stops everything.`,
		flags: func(f *flag.FlagSet) {
			f.IntVar(&o.Port, "port", 3000, "`N`: the port to serve on, 0: any free one")
			f.StringVar(&o.Data, "data", "", "`DIR`: keep the data there for the next demo (default: a temporary folder)")
			f.BoolVar(&o.JSON, "json", false, "when ready, print one line of JSON on stdout; logs go to stderr")
		},
		run: func(ctx context.Context, c console, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			if o.Port < 0 || o.Port > 65535 {
				return usageError("--port must be between 0 and 65535")
			}
			if err := portIsFree(ctx, demo.Host, o.Port); err != nil { // before PostgreSQL is fetched and started
				return err
			}
			o.Out, o.Err = c.out, c.err
			ctx, stop := untilSignal(ctx)
			defer stop()
			tuneRuntime()
			err := demo.Run(ctx, o, func(ctx context.Context, cfg *config.Config, log *zap.Logger) (demo.Node, error) {
				return startNode(ctx, cfg, log)
			})
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // stopped before it was ready, as asked
			}
			return err
		},
	}
}
