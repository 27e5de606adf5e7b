package main

import "slices"

// sent is what a kind of traffic found out.
type sent struct {
	Kind      string    `json:"kind"`
	Rates     []rate    `json:"throughput"`
	Arrivals  float64   `json:"arrivalsPerSecond,omitempty"`
	Latencies []latency `json:"latency,omitempty"`
}

// rate finds a target's; an empty one, when it did not take part.
func (s *sent) rate(target string) (none rate) {
	if i := slices.IndexFunc(s.Rates, func(r rate) bool { return r.Target == target }); i >= 0 {
		return s.Rates[i]
	}
	return none
}

func (s *sent) latency(target string) (none latency) {
	if i := slices.IndexFunc(s.Latencies, func(l latency) bool { return l.Target == target }); i >= 0 {
		return s.Latencies[i]
	}
	return none
}

// write prints the tables of a kind.
func (s *sent) write(p func(string, ...any), f *findings) {
	p("\n%s: charged calls, %d rounds of %s, and processor time, us a call, with what a load leaves to do afterwards\n", s.Kind, len(s.Rates[0].Calls), f.Round)
	p("\tcalls/s\tof bare\tleast\tmost\tgenerator\tupstream\tproxy\tdatabase\tsum\tif alone, calls/s\tof bare\t")
	least := middle(s.Rates[0].CPU).sum()
	for _, r := range s.Rates {
		c := middle(r.CPU)
		p("%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t", r.Target, median(r.Calls), median(r.Ratio), slices.Min(r.Ratio),
			slices.Max(r.Ratio), c.Generator, c.Upstream, c.Proxy, c.Database, c.sum(), float64(f.CPUs)*1e6/c.sum(), least/c.sum())
	}
	s.compare(p)
	if len(s.Latencies) == 0 {
		return
	}
	p("\n%s: latency at %.0f calls/s arriving, ms\n", s.Kind, s.Arrivals)
	p("\tp50\tp99\tadded to direct p50\tp99\tadded to bare p50\tp99\t")
	first, second := s.latency(direct), s.latency(bare)
	for _, l := range s.Latencies {
		p("%s\t%.2f\t%.2f\t%+.2f\t%+.2f\t%+.2f\t%+.2f\t", l.Target, median(l.P50)/1000, median(l.P99)/1000,
			added(first.P50, l.P50)/1000, added(first.P99, l.P99)/1000, added(second.P50, l.P50)/1000, added(second.P99, l.P99)/1000)
	}
}

// compare prints, after a run with -against, what has changed: medians of each round's ratio of after to before.
func (s *sent) compare(p func(string, ...any)) {
	head := false
	for _, mode := range modes {
		was, is := s.rate(mode+before), s.rate(mode)
		if was.Calls == nil {
			continue
		}
		if !head {
			p("\n%s: after, of before\n", s.Kind)
			p("\tcalls/s\tleast\tmost\tprocessor time: proxy\tdatabase\tsum\tleast\tmost\t")
			head = true
		}
		calls := ratios(is.Calls, was.Calls)
		part := func(of func(cpu) float64) []float64 { return ratios(each(is.CPU, of), each(was.CPU, of)) }
		sum := part(cpu.sum)
		p("%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t", mode, median(calls), slices.Min(calls), slices.Max(calls),
			median(part(func(c cpu) float64 { return c.Proxy })), median(part(func(c cpu) float64 { return c.Database })),
			median(sum), slices.Min(sum), slices.Max(sum))
	}
}

func ratios(of, to []float64) []float64 {
	all := make([]float64, len(of))
	for i := range of {
		all[i] = of[i] / to[i]
	}
	return all
}
