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

// perCall is what each of the calls cost between two readings.
func (c cpu) perCall(before cpu, calls int) cpu {
	n := float64(max(calls, 1))
	return cpu{(c.Generator - before.Generator) / n, (c.Upstream - before.Upstream) / n,
		(c.Proxy - before.Proxy) / n, (c.Database - before.Database) / n}
}

// middle is the median of each part.
func middle(all []cpu) cpu {
	part := func(of func(cpu) float64) float64 {
		values := make([]float64, len(all))
		for i, c := range all {
			values[i] = of(c)
		}
		return median(values)
	}
	return cpu{
		part(func(c cpu) float64 { return c.Generator }), part(func(c cpu) float64 { return c.Upstream }),
		part(func(c cpu) float64 { return c.Proxy }), part(func(c cpu) float64 { return c.Database }),
	}
}
