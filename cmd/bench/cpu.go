package main

// cpu is the processor time that calls cost, in microseconds, by who used it. On a machine that others use too it is the
// figure to trust: they can take time from a run, but they cannot make a call cost much more of it.
type cpu struct {
	Generator float64 `json:"generator"`
	Upstream  float64 `json:"upstream"`
	Proxy     float64 `json:"proxy"` // the bare proxy, or callora
	Database  float64 `json:"database"`
}

func (c cpu) sum() float64 { return c.Generator + c.Upstream + c.Proxy + c.Database }

func (c cpu) minus(d cpu) cpu {
	return cpu{c.Generator - d.Generator, c.Upstream - d.Upstream, c.Proxy - d.Proxy, c.Database - d.Database}
}

func (c cpu) plus(d cpu) cpu {
	return cpu{c.Generator + d.Generator, c.Upstream + d.Upstream, c.Proxy + d.Proxy, c.Database + d.Database}
}

// perCall is the share of each of so many calls.
func (c cpu) perCall(calls int) cpu {
	n := float64(max(calls, 1))
	return cpu{c.Generator / n, c.Upstream / n, c.Proxy / n, c.Database / n}
}

// middle is the median of each part.
func middle(all []cpu) cpu {
	part := func(of func(cpu) float64) float64 { return median(each(all, of)) }
	return cpu{
		part(func(c cpu) float64 { return c.Generator }), part(func(c cpu) float64 { return c.Upstream }),
		part(func(c cpu) float64 { return c.Proxy }), part(func(c cpu) float64 { return c.Database }),
	}
}

func each(all []cpu, of func(cpu) float64) []float64 {
	values := make([]float64, len(all))
	for i, c := range all {
		values[i] = of(c)
	}
	return values
}
