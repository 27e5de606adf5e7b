package main

import (
	"context"
	"fmt"
)

// spread is how much slower calls with many keys of many APIs are than those of one consumer with one key of one API: for as
// many consumers as share a batch in everyday traffic, and for a crowd, each of whom costs the database a lease.
type spread struct {
	Mode  string `json:"mode"`
	One   rate   `json:"oneKey"`
	Many  rate   `json:"manyKeys"`
	Crowd rate   `json:"crowd"`
}

const (
	fewConsumers     = 16
	crowdOfConsumers = 300
)

func (b *bench) spread(ctx context.Context) (found []spread, err error) {
	for _, mode := range modes {
		b.say("%s: one key against %d, for %d and %d consumers", mode, b.opt.keys, fewConsumers, crowdOfConsumers)
		var gateways []*gateway
		var targets []*target
		for _, m := range []market{{1, 1, 1}, {b.opt.keys, fewConsumers, b.opt.keys}, {b.opt.keys, crowdOfConsumers, b.opt.keys}} {
			g, err := b.start(ctx, place{name: fmt.Sprintf("spread%d_%s", len(gateways), mode), mode: mode, market: m})
			if err != nil {
				return nil, err
			}
			gateways, targets = append(gateways, g), append(targets, g.target(b))
		}
		rates, err := b.throughput(ctx, kinds[0], targets)
		if err != nil {
			return nil, err
		}
		found = append(found, spread{mode, rates[0], rates[1], rates[2]})
		for _, g := range gateways {
			if err := b.end(ctx, g); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// cost is what share of the first target's calls per second a target lacks, in percent of each round.
func (r rate) cost() []float64 {
	costs := make([]float64, len(r.Ratio))
	for i, ratio := range r.Ratio {
		costs[i] = 100 * (1 - ratio)
	}
	return costs
}
