package main

import (
	"context"
	"time"
)

// Names of targets. async and durable are METERING_MODE.
const (
	direct  = "direct"
	bare    = "bare"
	async   = "async"
	durable = "durable"
)

var modes = []string{async, durable}

// before marks what runs the program of -against.
const before = ", before"

// target is what a load is sent to.
type target struct {
	name   string
	addrs  []string
	buyers []buyer
	procs  []*child                        // whose processor time is the proxy's
	took   func(t tally, err error) error  // takes note of a load
	rest   func(ctx context.Context) error // returns when what a load left behind is done
}

func (t *target) load(kind traffic, conns int, lead time.Duration) load {
	return load{addrs: t.addrs, requests: kind.requests(t.buyers), conns: conns, lead: lead}
}

// uncharged is a target that charges nothing. It is sent what paid calls send, to the byte.
func uncharged(name string, c *child, addrs ...string) *target {
	const key = "ck_live_000000000000000000000000000000000000000000000000"
	return &target{
		name: name, addrs: addrs, procs: []*child{c},
		buyers: []buyer{{slug: plainSlug + "0", key: key}, {slug: secureSlug + "1", key: key, secure: true}},
		took: func(_ tally, err error) error {
			if err != nil {
				return c.whyFailed(err)
			}
			return nil
		},
		rest: func(context.Context) error { return nil },
	}
}

func (g *gateway) target(b *bench) *target {
	t := &target{name: g.name, buyers: g.buyers, procs: g.nodes, took: g.took, rest: func(ctx context.Context) error { return b.cooldown(ctx, g) }}
	for _, n := range g.nodes {
		t.addrs = append(t.addrs, n.addr)
	}
	return t
}
