package main

import "fmt"

// bar is a promise of the project's and what was found of it.
type bar struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Bound  string  `json:"bound"` // ">=", "<=" or "="
	Limit  float64 `json:"limit"`
	Passed bool    `json:"passed"`
}

func atLeast(what string, value, limit float64, unit string) bar {
	return bar{what, value, unit, ">=", limit, value >= limit}
}

func atMost(what string, value, limit float64, unit string) bar {
	return bar{what, value, unit, "<=", limit, value <= limit}
}

// leastOfBare and mostAdded are what each mode promises for every kind of traffic: calls per second as a share of the bare
// proxy's, and milliseconds of the slowest hundredth on top of the bare proxy's.
var (
	leastOfBare = map[string]float64{async: 1.2, durable: 0.95}
	mostAdded   = map[string]float64{async: 0, durable: 8}
)

const (
	leastRows     = 150_000 // of the batch writer, per second
	mostCost      = 15.0    // of many keys, in per cent
	mostCrowdCost = 30.0    // of a crowd of consumers besides
)

// judge holds the findings against the bars. What was not measured is not judged.
func (f *findings) judge() (bars []bar) {
	for _, s := range f.Sent {
		for _, r := range s.Rates {
			if least, ok := leastOfBare[r.Target]; ok {
				bars = append(bars, atLeast(s.Kind+", "+r.Target+" of the bare proxy", median(r.Ratio), least, "x"))
			}
		}
		bareTail := s.latency(bare).P99
		for _, l := range s.Latencies {
			if most, ok := mostAdded[l.Target]; ok {
				bars = append(bars, atMost(s.Kind+", "+l.Target+", p99 beyond the bare proxy's", added(bareTail, l.P99)/1000, most, "ms"))
			}
		}
	}
	for _, s := range f.Spread {
		bars = append(bars, atMost("GET, "+s.Mode+", cost of many keys", median(s.Many.cost()), mostCost, "%"),
			atMost("GET, "+s.Mode+", cost of a crowd of consumers", median(s.Crowd.cost()), mostCrowdCost, "%"))
	}
	for i, w := range f.Writer {
		if i == 0 {
			bars = append(bars, atLeast(fmt.Sprintf("batch writer, batches of %d", w.Batch), w.RowsPerSec, leastRows, "rows/s"))
		}
	}
	if len(f.Books)+len(f.Writer) > 0 {
		bars = append(bars, f.truth())
	}
	return bars
}

// truth is the bar that is not about speed: every charged answer was recorded and paid for, and nothing else was.
func (f *findings) truth() bar {
	wrong := 0
	for _, b := range f.Books {
		if !b.right() {
			wrong++
		}
	}
	for _, w := range f.Writer {
		if !w.Right {
			wrong++
		}
	}
	return bar{"books that are not right", float64(wrong), "", "=", 0, wrong == 0}
}
