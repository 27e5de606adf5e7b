package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ChargingState is the state of charging on this node at a moment.
type ChargingState struct {
	Accounts    int
	OpenLeases  int
	CallsInHold int64
	HeldStroops int64
	Queued      int64
	Failing     bool

	RecallsSent     int64
	RecallsHeard    int64
	RecalledStroops int64
	WaitsServed     int64
	WaitsRefused    int64
}

// Charging counts the batches of the writer and shows the state of the charger.
type Charging struct {
	batches *prometheus.CounterVec
	records prometheus.Counter
	sizes   prometheus.Histogram
	seconds prometheus.Histogram
}

// NewCharging registers the metrics of charging.
func NewCharging(m *Metrics) *Charging {
	c := &Charging{
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "metering_batches_total", Help: "Batches of usage records tried, by result (stored, failed).",
		}, []string{"result"}),
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "metering_records_total", Help: "Usage records in stored batches.",
		}),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "metering_batch_records", Help: "Usage records of a stored batch.", Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "metering_batch_duration_seconds", Help: "Time to store a batch.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}),
	}
	m.Registry.MustRegister(c.batches, c.records, c.sizes, c.seconds)
	return c
}

// ObserveBatch counts one batch that was tried.
func (c *Charging) ObserveBatch(records int, took time.Duration, err error) {
	if err != nil {
		c.batches.WithLabelValues("failed").Inc()
		return
	}
	c.batches.WithLabelValues("stored").Inc()
	c.records.Add(float64(records))
	c.sizes.Observe(float64(records))
	c.seconds.Observe(took.Seconds())
}

// WatchCharging shows the charger's state, asked once per scrape.
func (m *Metrics) WatchCharging(state func() ChargingState) {
	m.Registry.MustRegister(tillCollector(state))
}

type tillCollector func() ChargingState

var (
	leasesOpen  = prometheus.NewDesc("metering_leases_open", "Leases this node holds.", nil, nil)
	accounts    = prometheus.NewDesc("metering_accounts", "Consumers this node has a lease or a waiting call for.", nil, nil)
	callsInHold = prometheus.NewDesc("metering_calls_in_hold", "Calls that hold money and are not finished.", nil, nil)
	heldUSDC    = prometheus.NewDesc("metering_held_usdc", "Money held by calls that are not finished.", nil, nil)
	queued      = prometheus.NewDesc("metering_records_queued", "Usage records that wait for a writer.", nil, nil)
	failing     = prometheus.NewDesc("metering_failing", "1 while charges cannot be stored and paid calls are refused.", nil, nil)

	recallsSent  = prometheus.NewDesc("metering_recalls_sent_total", "Recalls of idle money that grants of this node sent to all nodes.", nil, nil)
	recallsHeard = prometheus.NewDesc("metering_recalls_heard_total", "Recalls of idle money that this node heard, its own included.", nil, nil)
	recalledUSDC = prometheus.NewDesc("metering_recalled_usdc_total", "Money that was idle on this node and given back for a recall.", nil, nil)
	recallWaits  = prometheus.NewDesc("metering_recall_waits_total", "Calls that waited for idle money of other nodes, by result (served, refused).", []string{"result"}, nil)
)

func (tillCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leasesOpen, accounts, callsInHold, heldUSDC, queued, failing, recallsSent, recallsHeard, recalledUSDC, recallWaits} {
		ch <- d
	}
}

func (state tillCollector) Collect(ch chan<- prometheus.Metric) {
	s := state()
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	counter(recallsSent, float64(s.RecallsSent))
	counter(recallsHeard, float64(s.RecallsHeard))
	counter(recalledUSDC, float64(s.RecalledStroops)/1e7)
	counter(recallWaits, float64(s.WaitsServed), "served")
	counter(recallWaits, float64(s.WaitsRefused), "refused")
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(leasesOpen, float64(s.OpenLeases))
	gauge(accounts, float64(s.Accounts))
	gauge(callsInHold, float64(s.CallsInHold))
	gauge(heldUSDC, float64(s.HeldStroops)/1e7) // a gauge is a float by definition; no money is computed from it
	gauge(queued, float64(s.Queued))
	if s.Failing {
		gauge(failing, 1)
		return
	}
	gauge(failing, 0)
}
