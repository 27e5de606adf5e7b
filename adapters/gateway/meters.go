package gateway

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
)

// meters are the gateway's own metrics. With profiling the upstream's are kept per API, for the first mostAPIs;
// without it they are kept for all together.
type meters struct {
	profiling bool
	inFlight  prometheus.Gauge
	refusals  *prometheus.CounterVec
	charged   prometheus.Counter
	seconds   *prometheus.HistogramVec
	requests  *prometheus.CounterVec

	apis sync.Map // slugs that have series of their own

	growing sync.Mutex
	named   int
	known   atomic.Pointer[map[upstreamLabels]upstreamSeries] // resolving labels for each call would cost more than counting
}

const (
	allAPIs   = "all"    // the api_id of upstream metrics without profiling
	otherAPIs = "_other" // and, with it, of all APIs after the first mostAPIs: anybody may publish, and series stay for ever
	mostAPIs  = 500
)

type upstreamLabels struct {
	method  string
	status  int
	outcome string
}

type upstreamSeries struct {
	seconds  prometheus.Observer
	requests prometheus.Counter
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
	m.known.Store(&map[upstreamLabels]upstreamSeries{})
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

func (m *meters) upstreamAnswered(c *call, status int) { m.upstream(c, status, "success") }

func (m *meters) upstreamFailed(c *call, outcome string) {
	if c.upstream == 0 {
		c.upstream = c.g.deps.Now().Sub(c.upstreamAt)
	}
	m.upstream(c, 0, outcome)
}

func (m *meters) upstream(c *call, status int, outcome string) {
	l := upstreamLabels{httpkit.MethodLabel(c.r.Method), httpkit.StatusLabel(status), outcome}
	var s upstreamSeries
	if m.profiling {
		s = m.resolve(m.api(c.route.Slug), l)
	} else {
		s = m.ofAll(l)
	}
	s.seconds.Observe(c.upstream.Seconds())
	s.requests.Inc()
}

// api is an API as metrics name it.
func (m *meters) api(slug string) string {
	if _, known := m.apis.Load(slug); known {
		return slug
	}
	m.growing.Lock()
	defer m.growing.Unlock()
	if m.named == mostAPIs {
		return otherAPIs
	}
	if _, known := m.apis.LoadOrStore(slug, nil); !known {
		m.named++
	}
	return slug
}

func (m *meters) resolve(api string, l upstreamLabels) upstreamSeries {
	status := strconv.Itoa(l.status)
	return upstreamSeries{m.seconds.WithLabelValues(api, l.method, status, l.outcome), m.requests.WithLabelValues(api, l.method, status, l.outcome)}
}

// ofAll resolves labels once. Methods, statuses and outcomes are few.
func (m *meters) ofAll(l upstreamLabels) upstreamSeries {
	if s, ok := (*m.known.Load())[l]; ok {
		return s
	}
	m.growing.Lock()
	defer m.growing.Unlock()
	next := maps.Clone(*m.known.Load())
	s := m.resolve(allAPIs, l)
	next[l] = s
	m.known.Store(&next)
	return s
}

func (m *meters) ended(c *call) {
	if c.refusal != "" {
		m.refusals.WithLabelValues(c.refusal).Inc()
	}
	if c.payment.charged {
		m.charged.Inc()
	}
}
