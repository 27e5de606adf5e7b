// Command bench measures what charging costs. On one machine and in one run it alternates the gateway, in both metering
// modes, with a reverse proxy that does nothing else, in front of the same upstream and under the same load, so that its
// ratios mean something although the machine is shared and its absolute figures do not. docs/PERFORMANCE.md explains them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	played, err := play(os.Args[1:])
	if !played {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errMissed = errors.New("a bar was missed")

func run() error {
	opt, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{opt: opt, begin: time.Now()}
	if err := b.measure(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	bars := b.found.judge()
	if opt.json {
		err = b.found.writeJSON(os.Stdout, bars)
	} else {
		err = b.found.write(os.Stdout, bars)
	}
	if err == nil && opt.strict && slices.ContainsFunc(bars, func(b bar) bool { return !b.Passed }) {
		return errMissed
	}
	return err
}

// bench is one run.
type bench struct {
	opt   options
	begin time.Time
	rig   *rig
	found findings
}

// say tells whoever waits what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.1fs  %s\n", time.Since(b.begin).Seconds(), fmt.Sprintf(format, args...))
}

// measure runs all parts that were asked for. Whatever happens, it leaves no process and no file behind.
func (b *bench) measure(ctx context.Context) (err error) {
	b.found.describe(b.opt)
	if b.rig, err = newRig(ctx, b.opt, b.say); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rig.close()) }()
	if b.opt.does(partThroughput) || b.opt.does(partLatency) {
		if err := b.calls(ctx); err != nil {
			return err
		}
	}
	if b.opt.does(partSpread) {
		if b.found.Spread, err = b.spread(ctx); err != nil {
			return err
		}
	}
	if b.opt.does(partWriter) {
		for _, batch := range []int{2000, 64} {
			w, err := b.writer(ctx, batch)
			if err != nil {
				return err
			}
			b.found.Writer = append(b.found.Writer, w)
		}
	}
	return nil
}

// calls measures throughput and, at a share of what was found, latency.
func (b *bench) calls(ctx context.Context) (err error) {
	gates := map[string]*gateway{}
	for _, mode := range modes {
		if gates[mode], err = b.start(ctx, mode, mode, everyday); err != nil {
			return err
		}
	}
	if b.found.Rates, err = b.throughput(ctx, gates); err != nil {
		return err
	}
	if b.opt.does(partLatency) {
		most := median(b.found.Rates[2].Calls) // of durable
		b.found.Arrivals = b.opt.share * most
		if b.found.Latencies, err = b.latencies(ctx, gates, b.found.Arrivals); err != nil {
			return err
		}
	}
	for _, mode := range modes {
		if err := b.end(ctx, gates[mode]); err != nil {
			return err
		}
	}
	return nil
}
