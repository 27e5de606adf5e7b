package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// findings is all that a run found out.
type findings struct {
	At        time.Time `json:"at"`
	Go        string    `json:"go"`
	CPUs      int       `json:"cpus"`
	Conns     int       `json:"connections"`
	Round     string    `json:"round"`
	LogLevel  string    `json:"logLevel"`
	Env       []string  `json:"env,omitempty"`
	Rates     []rate    `json:"throughput,omitempty"`
	Arrivals  float64   `json:"arrivalsPerSecond,omitempty"`
	Latencies []latency `json:"latency,omitempty"`
	Spread    []spread  `json:"spread,omitempty"`
	Keys      int       `json:"keys"`
	Writer    []writing `json:"writer,omitempty"`
	Books     []books   `json:"books,omitempty"`
}

func (f *findings) describe(o options) {
	*f = findings{
		At: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.NumCPU(),
		Conns: o.conns, Round: o.roundFor.String(), LogLevel: o.logLevel, Env: o.serveEnv, Keys: o.keys,
	}
}

// median of values; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (f *findings) writeJSON(w io.Writer, bars []bar) error {
	return json.NewEncoder(w).Encode(struct {
		*findings
		Bars []bar `json:"bars"`
	}{f, bars})
}

// write prints tables for people.
func (f *findings) write(out io.Writer, bars []bar) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("%s, %s, %d CPUs, %d connections, LOG_LEVEL=%s", f.At.Format(time.RFC3339), f.Go, f.CPUs, f.Conns, f.LogLevel)
	if len(f.Rates) > 0 {
		p("\nCharged calls, %d rounds of %s\n", len(f.Rates[0].Calls), f.Round)
		p("\tcalls/s\tof bare\tleast\tmost\t")
		for _, r := range f.Rates {
			p("%s\t%.0f\t%.2f\t%.2f\t%.2f\t", r.Target, median(r.Calls), median(r.Ratio), slices.Min(r.Ratio), slices.Max(r.Ratio))
		}
	}
	if least := f.leastCPU(); least > 0 {
		p("\nProcessor time, us a call, with what a load leaves to do afterwards\n")
		p("\tgenerator\tupstream\tproxy\tdatabase\tsum\tcalls/s if alone\tof bare\t")
		for _, r := range f.Rates {
			c := middle(r.CPU)
			p("%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t", r.Target, c.Generator, c.Upstream, c.Proxy, c.Database, c.sum(),
				float64(f.CPUs)*1e6/c.sum(), least/c.sum())
		}
	}
	if len(f.Latencies) > 0 {
		p("\nLatency at %.0f calls/s arriving, ms\n", f.Arrivals)
		p("\tp50\tp99\tadded to direct p50\tp99\tadded to bare p50\tp99\t")
		first, second := f.Latencies[0], f.Latencies[1]
		for _, l := range f.Latencies {
			p("%s\t%.2f\t%.2f\t%+.2f\t%+.2f\t%+.2f\t%+.2f\t", l.Target, median(l.P50)/1000, median(l.P99)/1000,
				added(first.P50, l.P50)/1000, added(first.P99, l.P99)/1000, added(second.P50, l.P50)/1000, added(second.P99, l.P99)/1000)
		}
	}
	if len(f.Spread) > 0 {
		p("\nMany APIs and keys (%d of each) against one API, %d consumers; with %d consumers besides\n", f.Keys, everyday.consumers, crowdOfConsumers)
		p("\tone, calls/s\tmany, calls/s\tcost\tleast\tmost\tcrowd\t")
		for _, s := range f.Spread {
			p("%s\t%.0f\t%.0f\t%.1f%%\t%.1f%%\t%.1f%%\t%.1f%%\t", s.Mode, median(s.One), median(s.Many), median(s.Cost),
				slices.Min(s.Cost), slices.Max(s.Cost), median(s.Crowd))
		}
	}
	if len(f.Writer) > 0 {
		p("\nDatabase alone, %d writers\n", writerCount)
		p("\tusage rows/s\trevenue rows/s\tbooks\t")
		for _, x := range f.Writer {
			p("batches of %d\t%.0f\t%.0f\t%s\t", x.Batch, x.RowsPerSec, x.Indexed, verdict(x.Right))
		}
	}
	if len(f.Books) > 0 {
		p("\nBooks at the end\n")
		p("\tcharged answers\tusage events\theld\tinvariants\t")
		for _, b := range f.Books {
			p("%s\t%d\t%d\t%d\t%s\t", b.Gateway, b.Charged, b.Events, b.HeldLeft, verdict(len(b.Broken) == 0))
		}
	}
	p("\nBars\n")
	for _, b := range bars {
		p("%s\t%s\t%.5g %s\t(%s %.5g)\t", verdict(b.Passed), b.What, b.Value, b.Unit, b.Bound, b.Limit)
	}
	return w.Flush()
}

// leastCPU is what a call through the bare proxy costs; 0 when that is not known.
func (f *findings) leastCPU() float64 {
	if len(f.Rates) == 0 {
		return 0
	}
	return middle(f.Rates[0].CPU).sum()
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "NO"
}
