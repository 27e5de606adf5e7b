package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// series are the samples of a registry as "name{label values}" -> value; of a histogram it is the count.
func series(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			out[fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ","))] = value
		}
	}
	return out
}

func TestTheGatewayCountsWhatItDoes(t *testing.T) {
	t.Parallel()
	for _, profiling := range []bool{false, true} {
		r := prometheus.NewRegistry()
		var observed []string
		h := open(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/base/items/503" {
				w.WriteHeader(503)
			}
			if r.URL.Path == "/base/items/cut" {
				panic(http.ErrAbortHandler)
			}
		}, func(c *Config, d *Deps) {
			c.Profiling, d.Registry = profiling, r
			d.Observe = func(method, route, group string, status int, took time.Duration) {
				observed = append(observed, fmt.Sprint(method, " ", route, " ", group, " ", status, " ", took > 0))
			}
		})
		h.get("/cheap")
		h.get("/cheap")
		h.get("/items/503")
		h.get("/items/cut")
		h.do(h.request("BREW", "/cheap", nil))
		h.get("/a;b")
		poor := newID()
		h.key = h.store.addKey(t, apikey.Key{UserID: poor, APIID: h.api.ID, Scopes: []string{"*"}})
		h.ledger.Fund(poor, money.Amount{})
		h.get("/cheap")
		api := allAPIs
		if profiling {
			api = "weather"
		}
		got := series(t, r)
		for name, want := range map[string]float64{
			"gateway_calls_in_flight{}": 0, "gateway_charged_calls_total{}": 3,
			"gateway_refusals_total{path}": 1, "gateway_refusals_total{balance}": 1, "gateway_refusals_total{upstream_failed}": 1,
			"gateway_upstream_requests_total{" + api + ",GET,success,200}":     2,
			"gateway_upstream_requests_total{" + api + ",GET,success,503}":     1,
			"gateway_upstream_requests_total{" + api + ",GET,error,0}":         1,
			"gateway_upstream_requests_total{" + api + ",OTHER,success,200}":   1,
			"gateway_upstream_duration_seconds{" + api + ",GET,success,200}":   2,
			"gateway_upstream_duration_seconds{" + api + ",OTHER,success,200}": 1,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v (of %v)", name, got[name], want, got)
			}
		}
		want := []string{
			"GET /v1/call/{api}/{path...} gateway 200 true", "GET /v1/call/{api}/{path...} gateway 200 true", "GET /v1/call/{api}/{path...} gateway 503 true",
			"GET /v1/call/{api}/{path...} gateway 502 true", "BREW /v1/call/{api}/{path...} gateway 200 true",
			"GET /v1/call/{api}/{path...} gateway 400 true", "GET /v1/call/{api}/{path...} gateway 402 true",
		}
		if !slices.Equal(observed, want) {
			t.Errorf("observed %v", observed)
		}
	}
}

func TestTwoGatewaysNeedTwoRegistries(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	if _, err := New(Config{}, Deps{Registry: r}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{}, Deps{Registry: r}); err == nil {
		t.Error("the second one counts into the first one's metrics")
	}
}

func TestSeriesPerAPIAreBounded(t *testing.T) {
	t.Parallel()
	m, err := newMeters(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for range 2 {
		for n := range 2 * mostAPIs {
			named[m.api(fmt.Sprint("api-", n))] = true
		}
	}
	if len(named) != mostAPIs+1 || !named[otherAPIs] || !named["api-0"] {
		t.Errorf("%d names, want %d and %q", len(named), mostAPIs, otherAPIs)
	}
}
