// Package metrics is what Prometheus scrapes: requests by route, the Go runtime, the process, and the state of charging.
package metrics

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
)

// maxSeries bounds the label sets of requests. Routes are templates, so only a mistake gets there; then it costs a label
// and not the memory of the process.
const maxSeries = 2000

// overflow is the route of requests beyond maxSeries.
const overflow = "_overflow"

// Metrics is the registry of one process with what every server counts.
type Metrics struct {
	Registry *prometheus.Registry

	seconds *prometheus.HistogramVec
	total   *prometheus.CounterVec
	series  sync.Map // labels -> *requests; resolving labels for each request would cost more than counting
	known   atomic.Int64
}

type labels struct {
	method, route, group string
	status               int
}

type requests struct {
	seconds prometheus.Observer
	total   prometheus.Counter
}

// New returns a registry of its own, with the Go runtime's and the process' metrics.
func New() *Metrics {
	names := []string{"method", "route", "status_code", "route_group"}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Duration of HTTP requests, to the last byte of the answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, names),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "HTTP requests answered.",
		}, names),
	}
	m.Registry.MustRegister(m.seconds, m.total, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Observe counts one answered request. Route is a template of the API, never a path as it was asked for.
func (m *Metrics) Observe(method, route, group string, status int, took time.Duration) {
	l := labels{method: httpkit.MethodLabel(method), route: route, group: group, status: httpkit.StatusLabel(status)}
	r := m.resolve(l)
	r.seconds.Observe(took.Seconds())
	r.total.Inc()
}

func (m *Metrics) resolve(l labels) *requests {
	if r, ok := m.series.Load(l); ok {
		return r.(*requests)
	}
	if m.known.Load() >= maxSeries {
		l.route, l.group = overflow, "other"
	}
	values := []string{l.method, l.route, strconv.Itoa(l.status), l.group}
	r, had := m.series.LoadOrStore(l, &requests{m.seconds.WithLabelValues(values...), m.total.WithLabelValues(values...)})
	if !had {
		m.known.Add(1)
	}
	return r.(*requests)
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}
