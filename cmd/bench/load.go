package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long after its planned end a load may still wait for answers.
const patience = 30 * time.Second

// load is a number of connections, spread over some addresses, and the requests they send.
type load struct {
	addrs    []string
	requests []request
	conns    int
	lead     time.Duration // at the start, not measured: connections are made, caches and leases filled
}

// tally is what came of a load.
type tally struct {
	calls     int // answers that were right
	measured  int // of them, those that came after the lead
	wrong     int
	first     error           // the first thing that went wrong
	took      time.Duration   // less the lead
	latencies []time.Duration // of an arriving load only, after the lead, sorted
}

// quantile returns the latency that the share q of the calls did not exceed.
func (t tally) quantile(q float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[min(int(q*float64(len(t.latencies))), len(t.latencies)-1)]
}

// next gives a worker its next request, and the moment it is due (zero: now); false ends the worker.
type next func(*rand.Rand) (*request, time.Time, bool)

// saturate keeps every connection busy with random requests, for a time after the lead.
func (l load) saturate(ctx context.Context, d time.Duration) (tally, error) {
	var over atomic.Bool
	return l.drive(ctx, d, func() {
		time.AfterFunc(l.lead+d, func() { over.Store(true) })
	}, func(r *rand.Rand) (*request, time.Time, bool) {
		return &l.requests[r.IntN(len(l.requests))], time.Time{}, !over.Load()
	})
}

// each sends every request once.
func (l load) each(ctx context.Context) (tally, error) {
	var sent atomic.Int64
	return l.drive(ctx, time.Minute, func() {}, func(*rand.Rand) (*request, time.Time, bool) {
		n := int(sent.Add(1)) - 1
		if n >= len(l.requests) {
			return nil, time.Time{}, false
		}
		return &l.requests[n], time.Time{}, true
	})
}

// arrive sends random requests at a constant rate, whatever the answers do. A call's latency counts from the moment it was
// due, so that a stall is felt by all calls that it delays (no coordinated omission).
func (l load) arrive(ctx context.Context, perSecond float64, d time.Duration) (tally, error) {
	total := int(perSecond * (l.lead + d).Seconds())
	due := make(chan time.Time, total) // the pace never waits for a worker
	return l.drive(ctx, d, func() {
		go func() {
			defer close(due)
			pace(ctx, time.Now().Add(10*time.Millisecond), perSecond, total, due)
		}()
	}, func(r *rand.Rand) (*request, time.Time, bool) {
		at, ok := <-due
		return &l.requests[r.IntN(len(l.requests))], at, ok
	})
}

// drive connects, starts the load, and returns when every worker has finished its last call. Any wrong answer is an error.
func (l load) drive(ctx context.Context, d time.Duration, start func(), more next) (tally, error) {
	conns := make([]*conn, 0, l.conns)
	defer func() {
		for _, c := range conns {
			_ = c.nc.Close() // it was read to the end of its last answer, or has failed
		}
	}()
	for i := range l.conns {
		c, err := dial(l.addrs[i%len(l.addrs)])
		if err != nil {
			return tally{}, err
		}
		conns = append(conns, c)
		if err := c.nc.SetDeadline(time.Now().Add(l.lead + d + patience)); err != nil {
			return tally{}, err
		}
	}
	defer context.AfterFunc(ctx, func() { // wakes workers that wait for answers
		for _, c := range conns {
			_ = c.nc.SetDeadline(time.Unix(1, 0))
		}
	})()

	parts := make([]tally, len(conns))
	var all sync.WaitGroup
	begin := time.Now()
	from := begin.Add(l.lead)
	start()
	for i, c := range conns {
		all.Go(func() { parts[i] = work(c, from, rand.New(rand.NewPCG(uint64(begin.UnixNano()), uint64(i))), more) })
	}
	all.Wait()
	sum := gather(parts)
	sum.took = time.Since(from)
	switch {
	case ctx.Err() != nil:
		return sum, ctx.Err()
	case sum.first != nil:
		return sum, fmt.Errorf("%d of %d calls went wrong, the first: %w", sum.wrong, sum.calls+sum.wrong, sum.first)
	}
	return sum, nil
}

// work is one connection's share; calls that end before from are not measured. It goes on after an answer that is merely wrong, to count how many are.
func work(c *conn, from time.Time, r *rand.Rand, more next) (t tally) {
	for {
		req, due, ok := more(r)
		if !ok {
			return t
		}
		switch err := c.call(req); {
		case err == nil:
			t.calls++
			now := time.Now()
			if now.Before(from) {
				continue
			}
			t.measured++
			if !due.IsZero() {
				t.latencies = append(t.latencies, now.Sub(due))
			}
		default:
			t.wrong++
			if t.first == nil {
				t.first = err
			}
			if !errors.Is(err, errWrong) {
				return t
			}
		}
	}
}

func gather(parts []tally) (sum tally) {
	for _, p := range parts {
		sum.calls += p.calls
		sum.measured += p.measured
		sum.wrong += p.wrong
		sum.latencies = append(sum.latencies, p.latencies...)
		if sum.first == nil {
			sum.first = p.first
		}
	}
	slices.Sort(sum.latencies)
	return sum
}

// pace sends the moments at which calls are due, each when it has come.
func pace(ctx context.Context, start time.Time, perSecond float64, total int, due chan<- time.Time) {
	exactly()
	for n := range total {
		at := start.Add(time.Duration(float64(n) / perSecond * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			pause(wait)
		}
		if ctx.Err() != nil {
			return
		}
		due <- at
	}
}
