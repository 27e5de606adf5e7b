package main

import (
	"context"
	"fmt"
)

// spread is how much slower calls with many keys of many APIs are than those of one consumer with one key of one API: for as
// many consumers as share a batch in everyday traffic, and for a crowd, each of whom costs the database a lease.
type spread struct {
	Mode  string    `json:"mode"`
	One   []float64 `json:"oneKeyCallsPerSecond"`
	Many  []float64 `json:"manyKeysCallsPerSecond"`
	Cost  []float64 `json:"costPercent"`
	Crowd []float64 `json:"crowdCostPercent"`
}

const (
	fewConsumers     = 16
	crowdOfConsumers = 300
)

func (b *bench) spread(ctx context.Context) (found []spread, err error) {
	for _, mode := range modes {
		b.say("%s: one key against %d, for %d and %d consumers", mode, b.opt.keys, fewConsumers, crowdOfConsumers)
		var gateways []*gateway
		for _, m := range []market{{1, 1, 1}, {b.opt.keys, fewConsumers, b.opt.keys}, {b.opt.keys, crowdOfConsumers, b.opt.keys}} {
			g, err := b.start(ctx, place{name: fmt.Sprintf("spread%d_%s", len(gateways), mode), mode: mode, market: m})
			if err != nil {
				return nil, err
			}
			gateways = append(gateways, g)
		}
		s := spread{Mode: mode}
		for range b.opt.spreadRounds {
			var calls [3]float64
			for i, g := range gateways {
				var of share
				if err := of.load(ctx, b, kinds[0], g.target(b)); err != nil {
					return nil, err
				}
				calls[i] = of.perSecond()
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
