package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

func statusField(status int) zapcore.Field { return zap.Int("statusCode", status) }

func TestARevokedKeyIsRefusedAsSoonAsItIsKnown(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	h.store.changeKey(h.key, func(k *apikey.Key) { k.RevokedAt = time.Now() })
	h.get("/cheap").want(t, 200, "") // from the cache: nothing has been heard yet
	h.tell(ports.Change{Kind: ports.ChangedKey, Subject: h.key[:16]})
	h.get("/cheap").want(t, 403, "FORBIDDEN")
}

func TestAKeyThatChangesWhileItIsReadIsNotKept(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.store.mu.Lock()
	h.store.reading = func() {
		h.store.mu.Lock()
		h.store.reading = nil
		h.store.mu.Unlock()
		h.store.changeKey(h.key, func(k *apikey.Key) { k.RevokedAt = time.Now() })
		h.tell(ports.Change{Kind: ports.ChangedKey, Subject: h.key[:16]})
	}
	h.store.mu.Unlock()
	h.get("/cheap").want(t, 200, "") // read before the change
	h.get("/cheap").want(t, 403, "FORBIDDEN")
}

func TestKeysAreLookedUpOnceAlsoUnknownOnes(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	unknown := "ck_live_ffffffffffffffffffffffffffffffffffffffffffffffff"
	for range 5 {
		h.get("/cheap").want(t, 200, "")
		r := h.request("GET", "/cheap", nil)
		r.Header.Set("X-Api-Key", unknown)
		h.do(r).want(t, 401, "UNAUTHORIZED")
	}
	if n := h.store.lookUps(); n != 2 {
		t.Errorf("%d look-ups for two keys", n)
	}
	h.tell(ports.Change{Kind: ports.ChangedKey, Subject: unknown[:16]}) // somebody made it
	r := h.request("GET", "/cheap", nil)
	r.Header.Set("X-Api-Key", unknown)
	h.do(r)
	if n := h.store.lookUps(); n != 3 {
		t.Errorf("%d look-ups after the news", n)
	}
}

func TestKnownKeysWorkWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	h.store.mu.Lock()
	h.store.away = true
	h.store.mu.Unlock()
	h.get("/cheap").want(t, 200, "")
	r := h.request("GET", "/cheap", nil)
	r.Header.Set("X-Api-Key", "ck_live_eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee")
	h.do(r).want(t, 503, "SERVICE_UNAVAILABLE")
}

func TestANewPriceAndAPauseApplyAtOnce(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	a := h.api
	a.Endpoints = []listing.Endpoint{{ID: newID(), Method: "GET", Path: "/cheap", Price: money.MustParse("0.07")}}
	a.Slug = "renamed"
	h.store.setAPI(a)
	h.tell(change(a.ID), ports.Change{Kind: ports.ChangedAPI, Subject: "nonsense"})
	h.get("/cheap").want(t, 404, "NOT_FOUND") // the old slug is gone
	r := h.request("GET", "", nil)
	r.URL.Path = "/v1/call/renamed/cheap"
	h.do(r).want(t, 200, "")
	r.URL.Path = "/v1/call/" + a.ID.String() + "/cheap"
	h.do(r).want(t, 200, "")
	a.Status = listing.Paused
	h.store.setAPI(a)
	h.tell(change(a.ID))
	h.do(r).want(t, 404, "NOT_FOUND")
	h.wantCharges("0.01", "0.07", "0.07")
	broken := listing.API{ID: newID(), Slug: "broken", BaseURL: "ftp://x", Status: listing.Active}
	h.store.setAPI(broken)
	h.tell(change(broken.ID), change(newID()))
	eventually(t, "an API that cannot be served is reported", func() bool { return h.logs.FilterMessage("routes").Len() == 1 })
}

func TestTheLegacyGateway(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	call := func(method, path, key string) reply {
		r, err := http.NewRequestWithContext(t.Context(), method, h.front.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			r.Header.Set("X-Api-Key", key)
		}
		return h.do(r)
	}
	id := h.api.ID.String()
	if got := call("PUT", "/api/gateway/"+id+"?a=1", h.key); got.StatusCode != 200 || string(got.body) != "PUT /base/?a=1 " {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	h.wantCharges("0.05")
	revoked := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: h.api.ID, Scopes: []string{"*"}, RevokedAt: time.Now()})
	for _, tt := range []struct {
		path, key     string
		status        int
		code, message string
	}{
		{"/api/gateway/" + id, "", 401, "UNAUTHORIZED", "Unauthorized: missing x-api-key header"},
		{"/api/gateway/" + id, "x", 401, "UNAUTHORIZED", "Unauthorized: invalid API key"},
		{"/api/gateway/unknown", h.key, 401, "UNAUTHORIZED", "Unauthorized: invalid API key"},
		{"/api/gateway/" + id, revoked, 403, "FORBIDDEN", "Forbidden: API key has been revoked"},
		{"/api/gateway/", h.key, 400, "VALIDATION_ERROR", "Request validation failed"},
		{"/api/gateway/" + id + id, h.key, 400, "VALIDATION_ERROR", "Request validation failed"},
		{"/api/gateway/" + id + "/deeper", h.key, 404, "NOT_FOUND", "Not Found"},
	} {
		call("GET", tt.path, tt.key).want(t, tt.status, tt.code)
	}
	a := h.api
	a.Endpoints = a.Endpoints[:1]
	h.store.setAPI(a)
	h.tell(change(a.ID))
	call("GET", "/api/gateway/"+id, h.key).want(t, 404, "NOT_FOUND")
}

// The operator's upstream may be private; an API that names the same address may not.
func TestTheLegacyGatewayForwardsToTheOperatorsUpstream(t *testing.T) {
	t.Parallel()
	own := httptest.NewServer(http.HandlerFunc(echo))
	defer own.Close()
	h := open(t, echo, allow(), func(c *Config, _ *Deps) { c.LegacyUpstream, _ = url.Parse(own.URL + "/own/") })
	r := h.request("GET", "", nil)
	r.URL.Path, r.URL.RawQuery = "/api/gateway/weather", "a=1"
	if got := h.do(r); string(got.body) != "GET /own/?a=1 " {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	h.wantCharges("0.05")
	h.api.BaseURL = own.URL
	h.store.setAPI(h.api)
	h.tell(change(h.api.ID))
	h.get("/cheap").want(t, 502, "UPSTREAM_TARGET_BLOCKED")
	h.wantCharges("0.05")
}

func TestTheLegacyGatewayHoldsItsListOfAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		allow     []string
		trust     bool
		forwarded []string
		status    int
		code      string
	}{
		{"an address on the list", []string{"127.0.0.0/8"}, false, nil, 200, ""},
		{"an address that is not", []string{"10.0.0.0/8"}, false, nil, 403, "IP_NOT_ALLOWED"},
		{"a forwarded address is not believed", []string{"10.0.0.0/8"}, false, []string{"10.0.0.1"}, 403, "IP_NOT_ALLOWED"},
		{"behind a trusted proxy it is", []string{"10.0.0.0/8"}, true, []string{"1.2.3.4, 10.0.0.1"}, 200, ""},
		{"but not what the caller wrote before it", []string{"10.0.0.0/8"}, true, []string{"10.0.0.1", "10.0.0.1, 1.2.3.4"}, 403, "IP_NOT_ALLOWED"},
		{"nonsense is told", []string{"10.0.0.0/8"}, true, []string{"not an address"}, 400, "INVALID_IP_FORMAT"},
		{"no list allows all", nil, false, nil, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, echo, func(c *Config, _ *Deps) {
				c.LegacyGuarded, c.LegacyAllow, c.Proxies.LastHop = true, prefixes(t, tt.allow...), tt.trust
			})
			r := h.request("GET", "", nil)
			r.URL.Path = "/api/gateway/weather"
			r.Header["X-Forwarded-For"] = tt.forwarded
			h.do(r).want(t, tt.status, tt.code)
		})
	}
}
