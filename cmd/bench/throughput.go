package main

import (
	"context"
	"fmt"
	"time"
)

// Names of what is measured. async and durable are METERING_MODE.
const (
	direct  = "direct"
	bare    = "bare"
	async   = "async"
	durable = "durable"
)

var modes = []string{async, durable}

// everyday is the marketplace of the throughput and latency runs: several consumers, so that no vault is special.
var everyday = market{apis: 4, consumers: 16, keys: 16}

// rate is a target's calls per second in each round, and what share of the bare proxy's of the same round that was.
type rate struct {
	Target string    `json:"target"`
	Calls  []float64 `json:"callsPerSecond"`
	Ratio  []float64 `json:"ofBare"`
	CPU    []cpu     `json:"cpuMicrosPerCall"`
}

// throughput alternates the targets, so that a slower minute of the machine slows all of them.
func (b *bench) throughput(ctx context.Context, gates map[string]*gateway) ([]rate, error) {
	rates := []rate{{Target: bare}, {Target: async}, {Target: durable}}
	for round := range b.opt.rounds {
		before := b.rig.usedCPU(b.rig.bare)
		t, err := b.rig.proxied().saturate(ctx, b.opt.roundFor)
		if err != nil {
			return nil, b.rig.bare.whyFailed(err)
		}
		rates[0].add(t.perSecond(), t.perSecond(), b.rig.usedCPU(b.rig.bare).perCall(before, t.calls))
		for i, mode := range modes {
			g := gates[mode]
			before, charged := b.rig.usedCPU(g.child), g.charged
			calls, err := b.saturate(ctx, g, b.opt.roundFor)
			if err != nil {
				return nil, err
			}
			rates[i+1].add(calls, t.perSecond(), b.rig.usedCPU(g.child).perCall(before, g.charged-charged))
		}
		b.say("round %d of %d: bare %.0f, async %.0f, durable %.0f calls/s", round+1, b.opt.rounds,
			rates[0].Calls[round], rates[1].Calls[round], rates[2].Calls[round])
	}
	return rates, nil
}

func (r *rate) add(calls, bare float64, used cpu) {
	r.CPU = append(r.CPU, used)
	r.Calls = append(r.Calls, calls)
	r.Ratio = append(r.Ratio, calls/bare)
}

// spread is how much slower calls with many keys of many APIs are than calls of one API by as many consumers with a key
// each. Crowd is the same for many more consumers, which costs the database a lease each.
type spread struct {
	Mode  string    `json:"mode"`
	One   []float64 `json:"oneAPICallsPerSecond"`
	Many  []float64 `json:"manyKeysCallsPerSecond"`
	Cost  []float64 `json:"costPercent"`
	Crowd []float64 `json:"crowdCostPercent"`
}

const crowdOfConsumers = 300

func (b *bench) spread(ctx context.Context) (found []spread, err error) {
	few := everyday.consumers
	for _, mode := range modes {
		b.say("%s: one API against %d, for %d and %d consumers", mode, b.opt.keys, few, crowdOfConsumers)
		var gateways []*gateway
		for _, m := range []market{{1, few, few}, {b.opt.keys, few, b.opt.keys}, {b.opt.keys, crowdOfConsumers, b.opt.keys}} {
			g, err := b.start(ctx, fmt.Sprintf("spread%d_%s", len(gateways), mode), mode, m)
			if err != nil {
				return nil, err
			}
			gateways = append(gateways, g)
		}
		s := spread{Mode: mode}
		for range b.opt.spreadRounds {
			var calls [3]float64
			for i, g := range gateways {
				if calls[i], err = b.saturate(ctx, g, b.opt.roundFor); err != nil {
					return nil, err
				}
			}
			s.One, s.Many = append(s.One, calls[0]), append(s.Many, calls[1])
			s.Cost, s.Crowd = append(s.Cost, 100*(1-calls[1]/calls[0])), append(s.Crowd, 100*(1-calls[2]/calls[0]))
		}
		found = append(found, s)
		for _, g := range gateways {
			if err := b.end(ctx, g); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// saturate loads a gateway, waits until it has finished what that left behind, and returns its calls per second.
func (b *bench) saturate(ctx context.Context, g *gateway, d time.Duration) (float64, error) {
	t, err := g.load().saturate(ctx, d)
	if err := g.took(t, err); err != nil {
		return 0, err
	}
	return t.perSecond(), b.cooldown(ctx, g)
}

// cooldown lets a gateway finish what a load left behind, so that it does not slow the next target down.
func (b *bench) cooldown(ctx context.Context, g *gateway) error {
	if !b.opt.cooldown {
		return nil
	}
	return g.quiet(ctx)
}

// start is rig.start, with a word to whoever waits.
func (b *bench) start(ctx context.Context, name, mode string, m market) (*gateway, error) {
	b.say("serving %d APIs, %d consumers, %d keys, %s", m.apis, m.consumers, m.keys, mode)
	g, err := b.rig.start(ctx, name, mode, m)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", name, err)
	}
	return g, nil
}

// end closes a gateway and keeps its books.
func (b *bench) end(ctx context.Context, g *gateway) error {
	done, err := g.close(ctx)
	if err != nil {
		return fmt.Errorf("end %s: %w", g.name, err)
	}
	b.found.Books = append(b.found.Books, done)
	return nil
}
