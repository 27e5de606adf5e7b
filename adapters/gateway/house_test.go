package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
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

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

// house is a gateway on a real listener in front of a real upstream, with fakes for what stores.
type house struct {
	t        *testing.T
	gw       *Gateway
	front    *httptest.Server
	upstream *httptest.Server
	till     *fakeTill
	store    *fakeStore
	bank     *portstest.Bank
	logs     *observer.ObservedLogs
	key      string
	api      listing.API
	owner    id.ID
}

type option func(*Config, *Deps)

// open builds a house whose upstream answers with serve. The API sells GET/POST/... /cheap (0.01), /expensive (5),
// /items/{id} (0.02) and * (0.05).
func open(t *testing.T, serve http.HandlerFunc, options ...option) *house {
	t.Helper()
	h := &house{t: t, owner: newID(), bank: portstest.NewBank(time.Now)}
	h.upstream = httptest.NewServer(serve)
	t.Cleanup(h.upstream.Close)
	h.till = &fakeTill{bank: h.bank}
	h.store = newFakeStore()
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
		ProxyTimeout: 5 * time.Second, BodyLimit: 1 << 20, Idempotency: time.Hour, AllowedHosts: []string{"127.0.0.1"},
	}
	deps := Deps{
		Till: h.till, Keys: h.store, Routes: h.store, Changes: h.store, Once: h.bank, NewID: newID, Now: time.Now, Log: zap.New(core),
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
	h.front = httptest.NewServer(gw)
	t.Cleanup(func() {
		h.front.Close()
		cancel()
		running.Wait()
		if e, ok := gw.cfg.Engine.(*http.Transport); ok {
			e.CloseIdleConnections()
		}
		h.till.wantNothingHeld(t)
	})
	for !gw.Ready() {
		wait(ctx, time.Millisecond)
	}
	return h
}

// request is a call of the house's API with its key.
func (h *house) request(method, path string, body io.Reader) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.front.URL+"/v1/call/weather"+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", h.key)
	return r
}

type reply struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// client asks for nothing of its own, such as gzip.
var client = &http.Transport{DisableCompression: true}

func (h *house) do(r *http.Request) reply {
	h.t.Helper()
	res, err := client.RoundTrip(r)
	if err != nil {
		h.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res, body, err}
}

func (h *house) get(path string) reply { h.t.Helper(); return h.do(h.request("GET", path, nil)) }

// raw sends bytes as they are and returns the connection to read from.
func (h *house) raw(request string) (net.Conn, *bufio.Reader) {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.front.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		h.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func (r reply) want(t *testing.T, status int, code string) {
	t.Helper()
	var e envelope
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

// fakeTill counts what is held and what is charged.
type fakeTill struct {
	bank *portstest.Bank

	mu      sync.Mutex
	held    int
	charges []usage.Event
	short   bool
	refuse  error
	before  func()       // called at a charge, before it takes effect
	luck    func() error // of a charge; nil: always good
}

type fakeHold struct {
	till  *fakeTill
	price money.Amount
	ended bool
}

func (f *fakeTill) Reserve(_ context.Context, _ id.ID, price money.Amount) (ports.Hold, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.short {
		return nil, vault.ErrShort
	}
	f.held++
	return &fakeHold{till: f, price: price}, nil
}

func (h *fakeHold) Charge(ctx context.Context, e usage.Event) error {
	f := h.till
	f.mu.Lock()
	before, refuse := f.before, f.refuse
	if f.luck != nil {
		refuse = f.luck()
	}
	if h.ended {
		f.mu.Unlock()
		return errors.New("charged twice")
	}
	h.ended = true
	f.held--
	f.mu.Unlock()
	if before != nil {
		before()
	}
	if refuse != nil {
		return refuse
	}
	e.Amount = h.price
	f.mu.Lock()
	f.charges = append(f.charges, e)
	f.mu.Unlock()
	if e.Once != nil {
		_, err := f.bank.Append(ctx, []usage.Record{{Event: e}})
		return err
	}
	return nil
}

func (h *fakeHold) Release() {
	h.till.mu.Lock()
	defer h.till.mu.Unlock()
	if !h.ended {
		h.ended = true
		h.till.held--
	}
}

func (f *fakeTill) set(change func(*fakeTill)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeTill) charged() []usage.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]usage.Event(nil), f.charges...)
}

func (f *fakeTill) outstanding() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

func (f *fakeTill) wantNothingHeld(t *testing.T) {
	t.Helper()
	if n := f.outstanding(); n != 0 {
		t.Errorf("%d holds are left", n)
	}
}

// wantCharges waits for the calls under way to end, and checks what was charged.
func (h *house) wantCharges(amounts ...string) {
	h.t.Helper()
	eventually(h.t, "no call holds money", func() bool { return h.till.outstanding() == 0 })
	got := h.till.charged()
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

// fakeStore is keys, routes and the news of them.
type fakeStore struct {
	mu      sync.Mutex
	keys    map[string]apikey.Key
	apis    map[id.ID]listing.API
	looked  int
	away    bool
	sick    id.ID // the API that cannot be read
	news    chan []ports.Change
	reading func() // called in the middle of a look-up
}

func newFakeStore() *fakeStore {
	return &fakeStore{keys: map[string]apikey.Key{}, apis: map[id.ID]listing.API{}, news: make(chan []ports.Change)}
}

var errAway = errors.New("database is away")

func (s *fakeStore) addKey(t testing.TB, k apikey.Key) (plain string) {
	t.Helper()
	plain, prefix, hash, err := apikey.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.ID, k.Prefix, k.Hash = newID(), prefix, hash
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[prefix] = k
	return plain
}

func (s *fakeStore) changeKey(plain string, change func(*apikey.Key)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix, _ := apikey.PrefixOf(plain)
	k := s.keys[prefix]
	change(&k)
	s.keys[prefix] = k
}

func (s *fakeStore) setAPI(a listing.API) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apis[a.ID] = a
}

func (s *fakeStore) KeyByPrefix(_ context.Context, prefix string) (apikey.Key, error) {
	s.mu.Lock()
	s.looked++
	k, ok := s.keys[prefix]
	away, reading := s.away, s.reading
	s.mu.Unlock()
	if reading != nil {
		reading()
	}
	if away {
		return apikey.Key{}, errAway
	}
	if !ok {
		return apikey.Key{}, apikey.ErrNotFound
	}
	return k, nil
}

func (s *fakeStore) set(change func(*fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeStore) lookUps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looked
}

func (s *fakeStore) ActiveAPIs(context.Context) ([]listing.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	var out []listing.API
	for _, a := range s.apis {
		if a.Status == listing.Active {
			out = append(out, a)
		}
	}
	return out, nil
}

func (s *fakeStore) API(_ context.Context, u id.ID) (listing.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away || u == s.sick {
		return listing.API{}, errAway
	}
	a, ok := s.apis[u]
	if !ok {
		return listing.API{}, listing.ErrNotFound
	}
	return a, nil
}

func (s *fakeStore) Follow(ctx context.Context, started chan<- struct{}, on func([]ports.Change)) error {
	close(started)
	for {
		select {
		case c := <-s.news:
			on(c)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *fakeStore) tell(changes ...ports.Change) { s.news <- changes; s.news <- nil }

// tell reports changes and waits until the gateway has taken them in.
func (h *house) tell(changes ...ports.Change) {
	h.t.Helper()
	marker := listing.API{ID: newID(), Slug: newID().String(), BaseURL: "http://marker", Status: listing.Active}
	h.store.setAPI(marker)
	h.store.tell(append(changes, change(marker.ID))...)
	eventually(h.t, "the changes are taken in", func() bool { return h.gw.table.find(marker.Slug) != nil })
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

// fakeLimiter admits the whole limit of each key and nothing more: its windows do not end.
type fakeLimiter struct {
	mu    sync.Mutex
	taken map[string]int
}

func newFakeLimiter() *fakeLimiter { return &fakeLimiter{taken: map[string]int{}} }

func (f *fakeLimiter) Take(key string, limit int, window time.Duration) ports.Decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken[key] == limit {
		return ports.Decision{Limit: limit, Reset: window, RetryAfter: window}
	}
	f.taken[key]++
	return ports.Decision{Allowed: true, Limit: limit, Remaining: limit - f.taken[key], Reset: window}
}
