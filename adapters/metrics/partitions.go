package metrics

import "github.com/prometheus/client_golang/prometheus"

// Partitions shows how the daily partitions of usage events are.
type Partitions struct {
	ahead     prometheus.Gauge
	inDefault *prometheus.GaugeVec
}

// NewPartitions registers the metrics of the partitions.
func NewPartitions(m *Metrics) *Partitions {
	p := &Partitions{
		ahead: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usage_partitions_days_ahead", Help: "Days ahead of today that have their partition; -1: today has none.",
		}),
		inDefault: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "usage_events_in_default",
			Help: "Usage events in the default partition, to 10000: waiting for the partition of their day, or stray (their day gets none).",
		}, []string{"kind"}),
	}
	m.Registry.MustRegister(p.ahead, p.inDefault)
	return p
}

// Set shows what a pass has found.
func (p *Partitions) Set(ahead, waiting, strays int) {
	p.ahead.Set(float64(ahead))
	p.inDefault.WithLabelValues("waiting").Set(float64(waiting))
	p.inDefault.WithLabelValues("stray").Set(float64(strays))
}
