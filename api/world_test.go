package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	backend "github.com/CalloraOrg/callora-backend"
	"github.com/CalloraOrg/callora-backend/api"
	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/app/access"
	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/app/catalog"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/app/metering"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

// noon is when all tests happen.
var noon = time.Date(2026, 5, 28, 12, 0, 0, 0, time.UTC)

// world is the whole API over stores in memory.
type world struct {
	cfg  api.Config
	deps api.Deps

	keys    *portstest.Keys
	catalog *portstest.Catalog
	vaults  *portstest.Vaults
	usage   *portstest.Usage
	gateway portstest.Invalidator
	checks  []health.Check
	blocked string // what the upstream check says

	consumer, seller id.ID
	developer        listing.Developer
	weather          listing.API
	logs             *observer.ObservedLogs
	observed         *observed

	handler http.Handler
}

// observed collects what was counted.
type observed struct {
	mu   sync.Mutex
	seen []string
}

func (w *world) CheckUpstream(context.Context, string) string { return w.blocked }

// newWorld opens a marketplace with one API, of one seller, and one consumer with a vault. change may set things before
// the API starts.
func newWorld(t *testing.T, change ...func(*world)) *world {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	w := &world{
		keys: portstest.NewKeys(), catalog: portstest.NewCatalog(), vaults: &portstest.Vaults{}, usage: &portstest.Usage{},
		consumer: newID(), seller: newID(), logs: logs, observed: &observed{},
		cfg: api.Config{Version: "1.2.3", Config: edge.Config{
			UserHeaderFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, // where httptest's requests come from

			JWTSecret: []byte("a secret for tests"), MetricsKey: "metrics key", BodyLimit: 100 << 10,
		}},
	}
	w.deps.Deps = edge.Deps{
		Log: zap.New(core), Now: func() time.Time { return noon }, NewID: newID,
		Observe: func(method, route, group string, status int, _ time.Duration) {
			w.observed.mu.Lock()
			defer w.observed.mu.Unlock()
			w.observed.seen = append(w.observed.seen, strings.Join([]string{method, route, group, http.StatusText(status)}, " "))
		},
	}
	w.deps.Metrics = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(rw, "up 1\n")
	})
	w.developer = listing.Developer{ID: newID(), UserID: w.seller, Name: "Ada", Website: "https://ada.example"}
	w.catalog.AddDeveloper(w.developer)
	w.weather = w.list(t, "weather", listing.Active)
	w.vaults.Add(vault.Balance{
		VaultID: newID(), UserID: w.consumer, Network: vault.Testnet, ContractID: "CVAULT", Snapshot: money.MustParse("100"), Ledger: 51,
		Uncollected: money.MustParse("0.02"), Held: money.MustParse("1"), HeldUsed: money.MustParse("0.01"), LastSyncedAt: noon.Add(-time.Minute),
	})
	w.checks = []health.Check{check("database", true, nil)}
	for _, c := range change {
		c(w)
	}
	w.start(t)
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	random := rand.New(rand.NewSource(1)) //nolint:gosec // keys of tests may be guessed
	now := w.deps.Now
	h, err := api.New(w.cfg, api.UseCases{
		Health: health.CheckHealth{Checks: w.checks, Now: now},
		Catalog: api.Catalog{
			List:    catalog.ListAPIs{Catalog: w.catalog},
			Get:     catalog.GetAPI{Catalog: w.catalog},
			Publish: catalog.PublishAPI{Store: w.catalog, Upstreams: w, Gateway: &w.gateway, Now: now, NewID: newID},
		},
		Access: api.Access{
			Issue:  access.IssueKey{Keys: w.keys, Catalog: w.catalog, Now: now, NewID: newID, Random: random},
			List:   access.ListKeys{Keys: w.keys},
			Rotate: access.RotateKey{Keys: w.keys, Gateway: &w.gateway, Now: now, NewID: newID, Random: random, Grace: 24 * time.Hour},
			Revoke: access.RevokeKey{Keys: w.keys, Gateway: &w.gateway, Now: now},
		},
		Billing:  api.Billing{GetBalance: billing.GetBalance{Balances: w.vaults, Network: vault.Testnet}},
		Metering: api.Metering{GetUsage: metering.GetUsage{Reader: w.usage, Now: now}},
	}, w.deps)
	if err != nil {
		t.Fatal(err)
	}
	w.handler = h
}

func check(name string, critical bool, err error) health.Check {
	return health.Check{
		Name: name, Critical: critical, Timeout: time.Second, Slow: time.Second / 2, Probe: func(context.Context) error { return err },
	}
}

// list puts an API on the market.
func (w *world) list(t *testing.T, slug string, status listing.Status) listing.API {
	t.Helper()
	a := listing.API{
		ID: newID(), DeveloperID: w.developer.ID, Slug: slug, Name: "The " + slug, BaseURL: "https://" + slug + ".example",
		Category: "data", Status: status, CreatedAt: noon, UpdatedAt: noon,
	}
	a.Endpoints = []listing.Endpoint{{
		ID: newID(), APIID: a.ID, Method: "GET", Path: "/forecast", Price: money.MustParse("0.01"), CreatedAt: noon, UpdatedAt: noon,
	}}
	if err := w.catalog.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// call records a call of the consumer.
func (w *world) call(at time.Time, price string) ports.UsageLine {
	l := ports.UsageLine{
		ID: newID(), APIID: w.weather.ID, APISlug: "weather", EndpointID: w.weather.Endpoints[0].ID, Method: "GET", Path: "/forecast",
		Status: 200, Latency: 12500 * time.Microsecond, Amount: money.MustParse(price), OccurredAt: at,
	}
	w.usage.Add(w.consumer, l)
	return l
}

// answer is a response that was held against the spec.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// as names the user of a request; the zero id is nobody.
func (w *world) as(t *testing.T, user id.ID, method, target, body string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	if !user.IsZero() {
		r.Header.Set("Authorization", w.token(t, user))
	}
	return w.do(t, r)
}

// token is the Authorization header of a user.
func (w *world) token(t *testing.T, user id.ID) string {
	t.Helper()
	token, err := edge.Tokens{Secret: w.cfg.JWTSecret}.Mint(user, time.Minute, noon)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

// do sends any request, and fails the test when the answer is not what the spec promises.
func (w *world) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	a := answer{httptest.NewRecorder(), t}
	asked := r.Clone(r.Context())
	w.handler.ServeHTTP(a, r)
	holdAgainstSpec(t, asked, a)
	return a
}

var spec = sync.OnceValues(func() (*openapi3.T, error) { return openapi3.NewLoader().LoadFromData(backend.OpenAPI) })

// paths of the spec for matching; the template's own names do not matter here.
var match = sync.OnceValue(func() *http.ServeMux {
	doc, err := spec()
	if err != nil {
		panic(err)
	}
	m := http.NewServeMux()
	for template, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			m.Handle(method+" "+template, http.NotFoundHandler())
		}
	}
	return m
})

func holdAgainstSpec(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	if id := a.Header().Get("X-Request-Id"); id == "" || len(id) > 128 {
		t.Errorf("%s %s: X-Request-Id is %q", r.Method, r.URL, id)
	}
	_, pattern := match().Handler(r)
	method, template, known := strings.Cut(pattern, " ")
	if !known || r.URL.Path != path.Clean(r.URL.Path) { // the mux would redirect to the clean path
		if r.Header.Get("Access-Control-Request-Method") == "" {
			a.refusal() // what no operation serves is an error in our form
		}
		return
	}
	item := doc.Paths.Value(template)
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r, Route: &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		},
		Status: a.Code, Header: a.Header(), Body: io.NopCloser(bytes.NewReader(a.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: r.Method == http.MethodHead},
	})
	if err != nil {
		t.Errorf("%s %s answers %d against the spec: %v\n%s", r.Method, r.URL, a.Code, err, a.Body)
	}
	if a.Code >= 400 && a.Code != http.StatusServiceUnavailable && r.Method != http.MethodHead {
		a.refusal()
	}
}

// refusal is the error body of an answer.
type refusal struct {
	Code, Message, RequestID string
	Details                  []struct{ Field, Message, Code string }
}

func (a answer) refusal() (e refusal) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), &e); err != nil || e.Code == "" || e.Message == "" || e.RequestID != a.Header().Get("X-Request-Id") {
		a.t.Errorf("%d is no error body: %q, %v", a.Code, a.Body, err)
	}
	return e
}

// refused checks the status and the code of a refusal, and returns its details as "field: message".
func (a answer) refused(status int, code string) (details []string) {
	a.t.Helper()
	e := a.refusal()
	if a.Code != status || e.Code != code {
		a.t.Errorf("got %d %s, want %d %s: %s", a.Code, e.Code, status, code, a.Body)
	}
	for _, d := range e.Details {
		details = append(details, d.Field+": "+d.Message)
	}
	return details
}

// into reads a success.
func (a answer) into(status int, v any) {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("got %d, want %d: %s", a.Code, status, a.Body)
	}
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		a.t.Fatalf("%s: %v", a.Body, err)
	}
}
