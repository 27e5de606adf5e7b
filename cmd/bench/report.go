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
	At       time.Time `json:"at"`
	Go       string    `json:"go"`
	CPUs     int       `json:"cpus"`
	Conns    int       `json:"connections"`
	Round    string    `json:"round"`
	LogLevel string    `json:"logLevel"`
	Env      []string  `json:"env,omitempty"`
	Sent     []sent    `json:"sent,omitempty"`
	Spread   []spread  `json:"spread,omitempty"`
	Keys     int       `json:"keys"`
	Nodes    []several `json:"nodes,omitempty"`
	Writer   []writing `json:"writer,omitempty"`
	Books    []books   `json:"books,omitempty"`
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
	for _, x := range f.Sent {
		x.write(p, f)
	}
	if len(f.Spread) > 0 {
		p("\nGET, many APIs and keys (%d of each) of %d consumers against one key of one; with %d consumers besides\n", f.Keys, fewConsumers, crowdOfConsumers)
		p("\tcalls/s\tcost\tleast\tmost\tgenerator\tupstream\tproxy\tdatabase\tsum\t")
		for _, s := range f.Spread {
			for i, r := range []rate{s.One, s.Many, s.Crowd} {
				name, cost, c := [...]string{"one", "many", "crowd"}[i], r.cost(), middle(r.CPU)
				p("%s, %s\t%.0f\t%.1f%%\t%.1f%%\t%.1f%%\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t", s.Mode, name, median(r.Calls), median(cost),
					slices.Min(cost), slices.Max(cost), c.Generator, c.Upstream, c.Proxy, c.Database, median(each(r.CPU, cpu.sum)))
			}
		}
	}
	if len(f.Nodes) > 0 {
		p("\nGET, nodes on one database, %d consumers who call all of them\n", everyday.consumers)
		p("\tcalls/s\tus a call: nodes\tdatabase\t")
		for _, x := range f.Nodes {
			c := middle(x.CPU)
			p("%s, %d\t%.0f\t%.0f\t%.0f\t", x.Mode, x.Nodes, median(x.Calls), c.Proxy, c.Database)
		}
	}
	if len(f.Writer) > 0 {
		p("\nDatabase alone, %d writers\n", writerCount)
		p("\tusage rows/s\tmachine used by others\trevenue rows/s\tbooks\t")
		for _, x := range f.Writer {
			p("batches of %d\t%.0f\t%.0f%%\t%.0f\t%s\t", x.Batch, x.RowsPerSec, 100*x.Others, x.Indexed, verdict(x.Right))
		}
	}
	if len(f.Books) > 0 {
		p("\nBooks at the end\n")
		p("\tcharged answers\tusage events\theld\tinvariants\t")
		for _, b := range f.Books {
			p("%s\t%d\t%d\t%d\t%s\t", b.Gateway, b.Charged, b.Events, b.HeldLeft, verdict(b.Audit == ""))
		}
		for _, b := range f.Books {
			if b.Audit != "" {
				p("\n%s: %s", b.Gateway, b.Audit)
			}
		}
	}
	p("\nBars\n")
	for _, b := range bars {
		p("%s\t%s\t%.5g %s\t(%s %.5g)\t", verdict(b.Passed), b.What, b.Value, b.Unit, b.Bound, b.Limit)
	}
	return w.Flush()
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "NO"
}
