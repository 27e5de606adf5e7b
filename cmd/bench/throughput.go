package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// everyday is the marketplace of the throughput and latency runs: several consumers, so that no vault is special, each with a key
// for an upstream over plain HTTP and one for an upstream over TLS.
var everyday = market{apis: 8, consumers: 16, keys: 32}

// rate is a target's calls per second in each round, what share of the bare proxy's of the same round that was, and what
// processor time a call cost.
type rate struct {
	Target string    `json:"target"`
	Calls  []float64 `json:"callsPerSecond"`
	Ratio  []float64 `json:"ofBare"`
	CPU    []cpu     `json:"cpuMicrosPerCall"`
}

// throughput alternates the targets, the first of which is the bare proxy, so that a slower minute of the machine slows
// all of them.
func (b *bench) throughput(ctx context.Context, kind traffic, targets []*target) ([]rate, error) {
	rates := make([]rate, len(targets))
	for i, t := range targets {
		rates[i].Target = t.name
	}
	for round := range b.opt.rounds {
		sums := make([]share, len(targets))
		for slice := range b.opt.slices {
			for i := range targets {
				at := (i + slice) % len(targets)
				if err := sums[at].load(ctx, b, kind, targets[at]); err != nil {
					return nil, err
				}
			}
		}
		var line strings.Builder
		for i, s := range sums {
			rates[i].add(s, sums[0])
			fmt.Fprintf(&line, "%s %.0f, ", targets[i].name, s.perSecond())
		}
		b.say("%s, round %d of %d: %s calls/s", kind.name, round+1, b.opt.rounds, strings.TrimSuffix(line.String(), ", "))
	}
	return rates, nil
}

func (r *rate) add(s, bare share) {
	r.Calls = append(r.Calls, s.perSecond())
	r.Ratio = append(r.Ratio, s.perSecond()/bare.perSecond())
	r.CPU = append(r.CPU, s.used.perCall(s.calls))
}

// share is what came of a target's loads in a round.
type share struct {
	calls, measured int
	took            time.Duration
	used            cpu
}

func (s *share) perSecond() float64 { return float64(s.measured) / s.took.Seconds() }

// load adds a load and what it leaves to do.
func (s *share) load(ctx context.Context, b *bench, kind traffic, t *target) error {
	start := b.rig.usedCPU(t.procs)
	got, err := t.load(kind, b.opt.conns, b.opt.warmUp).saturate(ctx, b.opt.roundFor/time.Duration(b.opt.slices))
	if err := t.took(got, err); err != nil {
		return err
	}
	if err := t.rest(ctx); err != nil {
		return err
	}
	s.calls += got.calls
	s.measured += got.measured
	s.took += got.took
	s.used = s.used.plus(b.rig.usedCPU(t.procs).minus(start))
	return nil
}
