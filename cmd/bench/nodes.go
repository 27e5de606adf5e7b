package main

import (
	"context"
	"fmt"
)

// mostNodes is how many gateways are tried on one database.
const mostNodes = 3

// several is what some nodes do together on one database, whose consumers call all of them.
type several struct {
	Mode  string    `json:"mode"`
	Nodes int       `json:"nodes"`
	Calls []float64 `json:"callsPerSecond"`
	CPU   []cpu     `json:"cpuMicrosPerCall"`
}

func (b *bench) nodes(ctx context.Context) (found []several, err error) {
	for _, mode := range modes {
		var targets []*target
		var gateways []*gateway
		for n := 1; n <= mostNodes; n++ {
			g, err := b.start(ctx, place{name: fmt.Sprintf("nodes%d_%s", n, mode), mode: mode, market: everyday, nodes: n})
			if err != nil {
				return nil, err
			}
			gateways, targets = append(gateways, g), append(targets, g.target(b))
		}
		rates, err := b.throughput(ctx, kinds[0], targets)
		if err != nil {
			return nil, err
		}
		for i, r := range rates {
			found = append(found, several{Mode: mode, Nodes: i + 1, Calls: r.Calls, CPU: r.CPU})
		}
		for _, g := range gateways {
			if err := b.end(ctx, g); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}
