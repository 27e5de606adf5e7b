package main

import (
	"context"
	"time"
)

// latency is a target's latency at a constant rate of arrivals, in microseconds: the quantiles of each round.
type latency struct {
	Target string    `json:"target"`
	P50    []float64 `json:"p50Micros"`
	P99    []float64 `json:"p99Micros"`
	Calls  int       `json:"calls"`
}

// latencies measures all targets at the same rate, one after the other in each round.
func (b *bench) latencies(ctx context.Context, gates map[string]*gateway, perSecond float64) ([]latency, error) {
	targets := []struct {
		name string
		load load
		took func(tally, error) error
	}{
		{direct, b.rig.direct(), b.rig.upstream.failed},
		{bare, b.rig.proxied(), b.rig.bare.failed},
		{async, gates[async].load(), gates[async].took},
		{durable, gates[durable].load(), gates[durable].took},
	}
	found := make([]latency, len(targets))
	for round := range b.opt.latencyRounds {
		b.say("latency at %.0f calls/s, round %d of %d", perSecond, round+1, b.opt.latencyRounds)
		for i, target := range targets {
			t, err := target.load.arrive(ctx, perSecond, b.opt.latencyFor)
			if err := target.took(t, err); err != nil {
				return nil, err
			}
			f := &found[i]
			f.Target = target.name
			f.Calls += t.calls
			f.P50 = append(f.P50, micros(t.quantile(0.5)))
			f.P99 = append(f.P99, micros(t.quantile(0.99)))
			if g := gates[target.name]; g != nil {
				if err := b.cooldown(ctx, g); err != nil {
					return nil, err
				}
			}
		}
	}
	return found, nil
}

// failed is gateway.took for a child that charges nothing.
func (c *child) failed(_ tally, err error) error {
	if err != nil {
		return c.whyFailed(err)
	}
	return nil
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
