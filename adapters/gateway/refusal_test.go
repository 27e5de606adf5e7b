package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

func TestRefusalsSayWhyAndCostNothing(t *testing.T) {
	t.Parallel()
	forwarded := make(chan string, 100)
	h := open(t, func(w http.ResponseWriter, r *http.Request) { forwarded <- r.URL.Path })
	other := listing.API{ID: newID(), Slug: "other", BaseURL: h.upstream.URL, Status: listing.Active}
	h.store.setAPI(other)
	h.tell(change(other.ID))
	mk := func(k apikey.Key) string {
		if k.APIID.IsZero() {
			k.APIID = h.api.ID
		}
		if k.Scopes == nil {
			k.Scopes = []string{"*"}
		}
		k.UserID = h.owner
		return h.store.addKey(t, k)
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	revoked, graceOver := mk(apikey.Key{RevokedAt: yesterday}), mk(apikey.Key{ExpiresAt: yesterday})
	inGrace := mk(apikey.Key{ExpiresAt: time.Now().Add(time.Hour)})
	reader := mk(apikey.Key{Scopes: []string{"read"}})
	noRest := listing.API{ID: newID(), Slug: "strict", BaseURL: h.upstream.URL, Status: listing.Active, Endpoints: []listing.Endpoint{
		{ID: newID(), Method: "GET", Path: "/only", Price: money.MustParse("1")}}}
	h.store.setAPI(noRest)
	h.tell(change(noRest.ID))
	strict := mk(apikey.Key{APIID: noRest.ID})

	for _, tt := range []struct {
		name, method, path string
		header             http.Header
		status             int
		code, message      string
	}{
		{"no key", "GET", "/v1/call/weather/cheap", nil, 401, "UNAUTHORIZED", "Unauthorized: missing API key"},
		{"a malformed header", "GET", "/v1/call/weather/cheap", http.Header{"Authorization": {"Basic x"}}, 401, "UNAUTHORIZED", "Unauthorized: malformed Authorization header"},
		{"an empty bearer", "GET", "/v1/call/weather/cheap", http.Header{"Authorization": {"Bearer "}}, 401, "UNAUTHORIZED", "Unauthorized: malformed Authorization header"},
		{"no key at all", "GET", "/v1/call/weather/cheap", keyed("nonsense"), 401, "UNAUTHORIZED", "Unauthorized: invalid API key"},
		{"an unknown prefix", "GET", "/v1/call/weather/cheap", keyed("ck_live_" + strings.Repeat("0", 48)), 401, "UNAUTHORIZED", "Unauthorized: invalid API key"},
		{"a wrong secret", "GET", "/v1/call/weather/cheap", keyed(h.key[:55] + other1(h.key[55:])), 401, "UNAUTHORIZED", "Unauthorized: invalid API key"},
		{"a revoked key", "GET", "/v1/call/weather/cheap", keyed(revoked), 403, "FORBIDDEN", "Unauthorized: API key has been revoked"},
		{"a rotated key after its grace", "GET", "/v1/call/weather/cheap", keyed(graceOver), 403, "FORBIDDEN", "Unauthorized: API key has been revoked"},
		{"an unknown API", "GET", "/v1/call/nothing/cheap", keyed(h.key), 404, "NOT_FOUND", "Not Found: unknown API"},
		{"no API", "GET", "/v1/call/", keyed(h.key), 404, "NOT_FOUND", "Not Found: unknown API"},
		{"another API", "GET", "/v1/call/other/cheap", keyed(h.key), 401, "UNAUTHORIZED", "Unauthorized: API key does not grant access to this API"},
		{"no such endpoint", "GET", "/v1/call/strict/else", keyed(strict), 404, "NOT_FOUND", "Not Found: the API has no endpoint for this method and path"},
		{"no such method", "POST", "/v1/call/strict/only", keyed(strict), 404, "NOT_FOUND", "Not Found: the API has no endpoint for this method and path"},
		{"a path of two meanings", "GET", "/v1/call/weather/cheap%2F..%2Fexpensive", keyed(h.key), 400, "INVALID_PATH", listing.ErrPath.Message},
		{"a scope", "POST", "/v1/call/weather/cheap", keyed(reader), 403, "INSUFFICIENT_SCOPE", "Forbidden: the API key's scopes do not allow this call"},
		{"a body too large", "POST", "/v1/call/weather/cheap", keyed(h.key), 413, "REQUEST_BODY_TOO_LARGE", "Request body too large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := url.Parse(h.front.URL + tt.path)
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Method: tt.method, URL: u, Header: tt.header}
			if r.Header == nil {
				r.Header = http.Header{}
			}
			if tt.status == 413 {
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, 2<<20))), 2<<20
			}
			got := h.do(r)
			got.want(t, tt.status, tt.code)
			var e httpkit.Envelope
			_ = json.Unmarshal(got.body, &e)
			if e.Message != tt.message || got.Header.Get("X-Callora-Charge") != zeroCharge {
				t.Errorf("message %q, charge %q", e.Message, got.Header.Get("X-Callora-Charge"))
			}
		})
	}
	h.wantCharges()
	if len(forwarded) != 0 {
		t.Errorf("%s was forwarded", <-forwarded)
	}
	r := h.request("GET", "/cheap", nil)
	r.Header = http.Header{"Authorization": {"bearer " + inGrace}}
	h.do(r).want(t, 200, "")
	h.wantCharges("0.01")
}

func keyed(key string) http.Header { return http.Header{"X-Api-Key": {" " + key + " "}} }

// other1 is another hex digit than d.
func other1(d string) string {
	if d == "0" {
		return "1"
	}
	return "0"
}

func TestAShortBalanceIs402AndNothingIsForwarded(t *testing.T) {
	t.Parallel()
	h := open(t, func(http.ResponseWriter, *http.Request) { t.Error("it was forwarded") })
	h.ledger.Fund(h.owner, money.Amount{})
	got := h.get("/cheap")
	got.want(t, 402, "PAYMENT_REQUIRED")
	if !bytes.Contains(got.body, []byte("Payment Required: insufficient balance")) {
		t.Errorf("%s", got.body)
	}
}

func TestAStoppedVaultPaysForNothingAndItsCallerIsToldWhy(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.api.Endpoints = append(h.api.Endpoints, listing.Endpoint{ID: newID(), Method: "GET", Path: "/free"})
	h.store.setAPI(h.api)
	stop := func(because string) {
		h.store.changeKey(h.key, func(k *apikey.Key) { k.VaultStopped = because })
		h.tell(ports.Change{Kind: ports.ChangedOwner, Subject: h.owner.String()}, change(h.api.ID))
	}
	stop("it owes 3 USDC")
	for range 2 {
		got := h.get("/cheap")
		got.want(t, 402, "VAULT_STOPPED")
		if !bytes.Contains(got.body, []byte("Payment Required: the vault is stopped: it owes 3 USDC")) {
			t.Errorf("%s", got.body)
		}
	}
	h.get("/free").want(t, 200, "")
	stop("")
	h.get("/cheap").want(t, 200, "")
	h.wantCharges("0", "0.01")
}

// What has been paid for is handed out again all the same.
func TestAStoppedVaultGetsTheAnswersItHasPaidFor(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	first := h.once("k", "GET", "/cheap", "")
	first.want(t, 200, "")
	h.store.changeKey(h.key, func(k *apikey.Key) { k.VaultStopped = "it owes 3 USDC" })
	h.tell(ports.Change{Kind: ports.ChangedOwner, Subject: h.owner.String()})
	if again := h.once("k", "GET", "/cheap", ""); again.StatusCode != 200 || !bytes.Equal(again.body, first.body) {
		t.Errorf("%d %s", again.StatusCode, again.body)
	}
	h.once("l", "GET", "/cheap", "").want(t, 402, "VAULT_STOPPED")
	h.wantCharges("0.01")
}

func TestAKeyIsLimitedByItsOwnRateAndTheGateways(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.RatePerMinute = 3 })
	for i, want := range []int{200, 200, 200, 429} {
		got := h.get("/cheap")
		if got.StatusCode != want || got.Header.Get("X-RateLimit-Limit") != "3" {
			t.Errorf("call %d: %d, limit %q", i, got.StatusCode, got.Header.Get("X-RateLimit-Limit"))
		}
		if want == 429 {
			got.want(t, 429, "TOO_MANY_REQUESTS")
			if got.Header.Get("Retry-After") == "" || got.Header.Get("X-RateLimit-Remaining") != "0" {
				t.Errorf("headers %v", got.Header)
			}
		}
	}
	one := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: h.api.ID, Scopes: []string{"*"}, RateLimitPerMinute: 1})
	for _, want := range []int{200, 429} {
		r := h.request("GET", "/cheap", nil)
		r.Header.Set("X-Api-Key", one)
		if got := h.do(r); got.StatusCode != want || got.Header.Get("X-RateLimit-Limit") != "1" {
			t.Errorf("status %d, limit %s", got.StatusCode, got.Header.Get("X-RateLimit-Limit"))
		}
	}
	h.wantCharges("0.01", "0.01", "0.01", "0.01")
}

func TestWhatCannotBeRecordedIs503AndIsNotDelivered(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]http.HandlerFunc{
		"a small answer": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") },
		"no content":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, serve)
			h.ledger.refuses(true)
			got := h.get("/cheap")
			got.want(t, 503, "METERING_UNAVAILABLE")
			if bytes.Contains(got.body, []byte("secret")) || got.Header.Get("X-Callora-Charge") != zeroCharge {
				t.Errorf("%s %v", got.body, got.Header)
			}
			h.wantCharges()
		})
	}
	for name, length := range map[string]string{"a large answer of known length": "100000", "a chunked answer": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = w.Write(make([]byte, 50_000))
				w.(http.Flusher).Flush()
				_, _ = w.Write(make([]byte, 50_000))
			})
			h.ledger.refuses(true)
			if got := h.get("/cheap"); got.err == nil {
				t.Errorf("a complete answer of %d bytes was delivered", len(got.body))
			}
			h.wantCharges()
		})
	}
}

func TestTheGatewayRefusesUntilItsRoutesAreThere(t *testing.T) {
	t.Parallel()
	gw, err := New(Config{}, Deps{NewID: newID, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/call/weather/x", "/api/gateway/weather"} {
		r, w := newRecorded(path)
		gw.ServeHTTP(w, r)
		if w.Code != 503 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
