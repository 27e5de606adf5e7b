package main

import (
	"context"
	"slices"
	"time"
)

// latency is a target's latency at a constant rate of arrivals, in microseconds: the quantiles of each round.
type latency struct {
	Target string    `json:"target"`
	P50    []float64 `json:"p50Micros"`
	P99    []float64 `json:"p99Micros"`
	Calls  int       `json:"calls"`
}

// latencies measures all targets, and calls to the upstream itself, at the same rate, one after the other in each round.
func (b *bench) latencies(ctx context.Context, kind traffic, targets []*target, perSecond float64) ([]latency, error) {
	all := slices.Insert(slices.Clone(targets), 0, uncharged(direct, b.rig.upstream, b.rig.upstream.addr))
	found := make([]latency, len(all))
	for round := range b.opt.latencyRounds {
		b.say("%s, latency at %.0f calls/s, round %d of %d", kind.name, perSecond, round+1, b.opt.latencyRounds)
		for i, target := range all {
			t, err := target.load(kind, b.opt.conns, b.opt.warmUp).arrive(ctx, perSecond, b.opt.latencyFor)
			if err := target.took(t, err); err != nil {
				return nil, err
			}
			f := &found[i]
			f.Target = target.name
			f.Calls += t.calls
			f.P50 = append(f.P50, micros(t.quantile(0.5)))
			f.P99 = append(f.P99, micros(t.quantile(0.99)))
			if err := target.rest(ctx); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// added is the median over rounds of what the second target's quantile has on top of the first's.
func added(to, of []float64) float64 {
	diff := make([]float64, len(of))
	for i := range of {
		diff[i] = of[i] - to[i]
	}
	return median(diff)
}
