package shared

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters show whether the store answers, and how quickly.
type meters struct {
	up, nodes              prometheus.Gauge
	answered, late, failed prometheus.Counter
	seconds                prometheus.Histogram
	fallback               prometheus.Counter
}

func newMeters(r prometheus.Registerer) *meters {
	asked := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ratelimit_store_requests_total", Help: "Questions to the rate limits' store, by result (answered, timeout, failed).",
	}, []string{"result"})
	m := &meters{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ratelimit_store_up", Help: "1 while rate limits are counted in the store that nodes share, 0 while this node falls back to its share of each.",
		}),
		nodes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ratelimit_nodes", Help: "Nodes that count in the store, as far as this one knows: a share is a limit divided by them.",
		}),
		answered: asked.WithLabelValues("answered"), late: asked.WithLabelValues("timeout"), failed: asked.WithLabelValues("failed"),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ratelimit_store_request_duration_seconds", Help: "How long the rate limits' store took to answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1},
		}),
		fallback: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ratelimit_fallback_total", Help: "Decisions that this node made by its own share of a limit.",
		}),
	}
	if r != nil {
		r.MustRegister(asked, m.up, m.nodes, m.seconds, m.fallback)
	}
	return m
}

func (m *meters) asked(took time.Duration, err error) {
	switch {
	case err == nil:
		m.answered.Inc()
		m.seconds.Observe(took.Seconds())
	case errors.Is(err, context.DeadlineExceeded):
		m.late.Inc()
	default:
		m.failed.Inc()
	}
}
