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
	if b.opt.does(partNodes) {
		if b.found.Nodes, err = b.nodes(ctx); err != nil {
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

// calls measures throughput and, at a share of what was found, latency, kind by kind.
func (b *bench) calls(ctx context.Context) error {
	targets := []*target{uncharged(bare, b.rig.bare, b.rig.bare.addr)}
	if b.rig.nginx != nil {
		targets = append(targets, uncharged("nginx", b.rig.nginx, b.rig.nginx.addr))
	}
	var gateways []*gateway
	places := []place{{name: async, mode: async}, {name: durable, mode: durable}}
	if b.opt.against != "" {
		for _, p := range places {
			p.name, p.program = p.name+before, b.opt.against
			places = append(places, p)
		}
	}
	for _, p := range places {
		p.market = everyday
		g, err := b.start(ctx, p)
		if err != nil {
			return err
		}
		gateways, targets = append(gateways, g), append(targets, g.target(b))
	}
	for _, kind := range b.opt.kinds {
		s := sent{Kind: kind.name}
		var err error
		if s.Rates, err = b.throughput(ctx, kind, targets); err != nil {
			return err
		}
		if b.opt.does(partLatency) && kind.plain && !kind.secure {
			s.Arrivals = b.opt.share * median(s.rate(durable).Calls)
			if s.Latencies, err = b.latencies(ctx, kind, targets, s.Arrivals); err != nil {
				return err
			}
		}
		b.found.Sent = append(b.found.Sent, s)
	}
	for _, g := range gateways {
		if err := b.end(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// cooldown lets a gateway finish what a load left behind, so that it does not slow the next target down.
func (b *bench) cooldown(ctx context.Context, g *gateway) error {
	if !b.opt.cooldown {
		return nil
	}
	return g.quiet(ctx)
}

// start is rig.start, with a word to whoever waits.
func (b *bench) start(ctx context.Context, p place) (*gateway, error) {
	b.say("serving %s: %d APIs, %d consumers, %d keys", p.name, p.market.apis, p.market.consumers, p.market.keys)
	g, err := b.rig.start(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", p.name, err)
	}
	return g, nil
}

// end closes a gateway and keeps its books.
func (b *bench) end(ctx context.Context, g *gateway) error {
	done, err := g.close(ctx, b.rig)
	if err != nil {
		return fmt.Errorf("end %s: %w", g.name, err)
	}
	b.found.Books = append(b.found.Books, done)
	return nil
}
