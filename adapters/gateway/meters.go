package gateway

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are the gateway's own metrics. With profiling the upstream's are kept per API, which is as many series as there
// are APIs; without it they are kept for all together.
type meters struct {
	profiling bool
	inFlight  prometheus.Gauge
	refusals  *prometheus.CounterVec
	charged   prometheus.Counter
	seconds   *prometheus.HistogramVec
	requests  *prometheus.CounterVec
}

func newMeters(r prometheus.Registerer, profiling bool) (*meters, error) {
	m := &meters{
		profiling: profiling,
		inFlight:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_calls_in_flight", Help: "Calls under way."}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_refusals_total", Help: "Calls that were not served, by reason.",
		}, []string{"reason"}),
		charged: prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_charged_calls_total", Help: "Calls that were charged."}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_upstream_duration_seconds", Help: "Time to the upstream's response header.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"api_id", "method", "status_code", "outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_upstream_requests_total", Help: "Calls forwarded to upstreams.",
		}, []string{"api_id", "method", "status_code", "outcome"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.inFlight, m.refusals, m.charged, m.seconds, m.requests} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *meters) upstreamAnswered(c *call, status int) {
	m.upstream(c, strconv.Itoa(status), "success")
}

func (m *meters) upstreamFailed(c *call, outcome string) {
	if c.upstream == 0 {
		c.upstream = c.g.deps.Now().Sub(c.upstreamAt)
	}
	m.upstream(c, "0", outcome)
}

func (m *meters) upstream(c *call, status, outcome string) {
	api, method := "all", "all"
	if m.profiling {
		api, method = c.route.id.String(), knownMethod(c.r.Method)
	}
	m.seconds.WithLabelValues(api, method, status, outcome).Observe(c.upstream.Seconds())
	m.requests.WithLabelValues(api, method, status, outcome).Inc()
}

func (m *meters) ended(c *call) {
	if c.refusal != "" {
		m.refusals.WithLabelValues(c.refusal).Inc()
	}
	if c.charged {
		m.charged.Inc()
	}
}

func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "OTHER"
}
