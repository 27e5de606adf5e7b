package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

// fixture is a gateway on a real listener in front of a real upstream, with fakes for what stores.
type fixture struct {
	t        *testing.T
	gw       *Gateway
	front    *httptest.Server
	upstream *httptest.Server
	store    *fakeStore
	ledger   *ledger
	logs     *observer.ObservedLogs
	key      string
	api      listing.API
	owner    id.ID
}

type option func(*Config, *Deps)

// open builds a gateway whose upstream answers with serve. The API sells GET/POST/... /cheap (0.01), /expensive (5),
// /items/{id} (0.02) and * (0.05).
func open(t *testing.T, serve http.HandlerFunc, options ...option) *fixture {
	t.Helper()
	h := &fixture{t: t, owner: newID(), ledger: newLedger(t)}
	h.upstream = httptest.NewServer(serve)
	t.Cleanup(h.upstream.Close)
	h.store = newFakeStore()
	h.store.fund = h.ledger.fund
	h.api = listing.API{
		ID: newID(), Slug: "weather", BaseURL: h.upstream.URL + "/base", Status: listing.Active,
		Endpoints: []listing.Endpoint{
			{ID: newID(), Method: "*", Path: "/cheap", Price: money.MustParse("0.01")},
			{ID: newID(), Method: "*", Path: "/expensive", Price: money.MustParse("5")},
			{ID: newID(), Method: "GET", Path: "/items/{id}", Price: money.MustParse("0.02")},
			{ID: newID(), Method: "*", Path: "*", Price: money.MustParse("0.05")},
		},
	}
	h.store.setAPI(h.api)
	h.key = h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: h.api.ID, Scopes: []string{"*"}})

	core, logs := observer.New(zapcore.DebugLevel)
	h.logs = logs
	cfg := Config{
		ProxyTimeout: 5 * time.Second, BodyLimit: 1 << 20, Idempotency: time.Hour, AllowedHosts: []string{"127.0.0.1"}, proxied: proxied,
	}
	deps := Deps{
		Charger: h.ledger.charger, Keys: h.store, Routes: h.store, Changes: h.store, Idempotency: h.ledger, NewID: newID, Now: time.Now, Log: zap.New(core),
		Limiter: newFakeLimiter(),
	}
	for _, o := range options {
		o(&cfg, &deps)
	}
	gw, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	h.gw = gw
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := gw.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	h.front = inFront(gw)
	t.Cleanup(func() {
		h.front.Close()
		cancel()
		running.Wait()
		if e, ok := gw.cfg.Engine.(interface{ CloseIdleConnections() }); ok {
			e.CloseIdleConnections()
		}
		h.ledger.drain(t)
	})
	for !gw.Ready() {
		wait(ctx, time.Millisecond)
	}
	return h
}

// inFront is a server as a node has it.
func inFront(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(httpkit.Framing(h))
	s.Config.ConnContext, s.Config.ConnState = httpkit.ConnContext, httpkit.ConnState
	s.Listener = httpkit.Listen(s.Listener, newID, nil)
	s.Start()
	return s
}

// request is a call of the fixture's API with its key.
func (h *fixture) request(method, path string, body io.Reader) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.front.URL+"/v1/call/weather"+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", h.key)
	return r
}

// rawTime is when a test that waits for an answer, or for the end of its connection, has waited in vain.
const rawTime = 10 * time.Second

type reply struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// client asks for nothing of its own, such as gzip.
var client = &http.Transport{DisableCompression: true}

func (h *fixture) do(r *http.Request) reply {
	h.t.Helper()
	res, err := client.RoundTrip(r)
	if err != nil {
		h.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res, body, err}
}

func (h *fixture) get(path string) reply { h.t.Helper(); return h.do(h.request("GET", path, nil)) }

// raw sends bytes as they are and returns the connection to read from, for rawTime at most.
func (h *fixture) raw(request string) (net.Conn, *bufio.Reader) {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.front.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(rawTime))
	if _, err := io.WriteString(conn, request); err != nil {
		h.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func (r reply) want(t *testing.T, status int, code string) {
	t.Helper()
	var e httpkit.Envelope
	if code != "" {
		if err := json.Unmarshal(r.body, &e); err != nil {
			t.Fatalf("status %d, body %q: %v", r.StatusCode, r.body, err)
		}
	}
	if r.StatusCode != status || e.Code != code {
		t.Errorf("got %d %s, want %d %s (%s)", r.StatusCode, e.Code, status, code, r.body)
	}
	if id := r.Header.Get("X-Request-Id"); id == "" || code != "" && id != e.RequestID {
		t.Errorf("X-Request-Id %q, requestId %q", id, e.RequestID)
	}
}

// wantCharges waits for the calls under way to end, and checks what was charged.
func (h *fixture) wantCharges(amounts ...string) {
	h.t.Helper()
	eventually(h.t, "no call holds money", func() bool { return h.ledger.outstanding() == 0 })
	got := h.ledger.charged()
	var texts []string
	for _, e := range got {
		texts = append(texts, e.Amount.String())
	}
	var want []string
	for _, a := range amounts {
		want = append(want, money.MustParse(a).String())
	}
	if strings.Join(texts, " ") != strings.Join(want, " ") {
		h.t.Errorf("charged %v, want %v", texts, want)
	}
}

// eventually polls a condition that another goroutine is about to make true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("it never came true that %s", what)
		}
		wait(ctx, time.Millisecond)
	}
}

// tell reports changes and waits until the gateway has taken them in.
func (h *fixture) tell(changes ...ports.Change) {
	h.t.Helper()
	marker := listing.API{ID: newID(), Slug: newID().String(), BaseURL: "http://marker", Status: listing.Active}
	h.store.setAPI(marker)
	h.store.tell(append(changes, change(marker.ID))...)
	eventually(h.t, "the changes are taken in", func() bool { return h.gw.table.Find(marker.Slug) != nil })
}

// allow replaces the list of upstream hosts that may be private.
func allow(hosts ...string) option { return func(c *Config, _ *Deps) { c.AllowedHosts = hosts } }

func within(d time.Duration) option { return func(c *Config, _ *Deps) { c.ProxyTimeout = d } }

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
}

func prefixes(t *testing.T, list ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
