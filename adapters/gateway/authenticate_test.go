package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

// from is a call with a key from an address.
func (h *fixture) from(address, key string) reply {
	h.t.Helper()
	r := h.request("GET", "/cheap", nil)
	r.Header = http.Header{"X-Api-Key": {key}, "X-Forwarded-For": {address}}
	return h.do(r)
}

// guess is the n-th key that somebody makes up.
func guess(n int) string { return apikey.Mark + fmt.Sprintf("%08x%040x", n, 0) }

func TestGuessingKeysIsLimitedByAddressBeforeItCostsALookUp(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.UnknownPerMinute, c.Proxies.LastHop = 3, true })
	cold := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: h.api.ID, Scopes: []string{"*"}})
	h.from("2001:db8:1:2::1", h.key).want(t, 200, "")
	before := h.store.lookUps()
	for n := range 20 {
		got := h.from(fmt.Sprintf("2001:db8:1:2::%x", n), guess(n)) // one subscriber
		if n < 3 {
			got.want(t, 401, "UNAUTHORIZED")
			continue
		}
		if got.want(t, 429, "TOO_MANY_REQUESTS"); got.Header.Get("Retry-After") == "" || !strings.Contains(string(got.body), "without a known key") {
			t.Errorf("%v %s", got.Header, got.body)
		}
	}
	if n := h.store.lookUps() - before; n != 3 {
		t.Errorf("20 guesses cost %d look-ups, want 3", n)
	}
	h.from("2001:db8:1:2::5", h.key[:len(h.key)-1]+other1(h.key[len(h.key)-1:])).want(t, 429, "TOO_MANY_REQUESTS") // a known prefix
	h.from("2001:db8:1:2::5", "x").want(t, 429, "TOO_MANY_REQUESTS")
	h.from("2001:db8:1:2::5", h.key).want(t, 200, "") // a good key in memory does not suffer for its neighbours
	h.from("2001:db8:1:3::1", cold).want(t, 200, "")
	h.from("192.0.2.7", guess(1)).want(t, 401, "UNAUTHORIZED")
}

func TestGoodKeysBehindOneAddressAreNotCounted(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.UnknownPerMinute = 2 })
	for range 20 {
		r := h.request("GET", "/cheap", nil)
		r.Header.Set("X-Api-Key", h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: h.api.ID, Scopes: []string{"*"}}))
		h.do(r).want(t, 200, "")
	}
	for _, want := range []int{401, 401, 429} {
		r := h.request("GET", "/cheap", nil)
		r.Header.Set("X-Api-Key", guess(want))
		if got := h.do(r); got.StatusCode != want {
			t.Errorf("%d, want %d", got.StatusCode, want)
		}
	}
}

func TestOurOwnTroubleIsNotCountedAgainstAnAddress(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.UnknownPerMinute = 1 })
	h.store.set(func(s *fakeStore) { s.away = true })
	for range 5 {
		h.get("/cheap").want(t, 503, "SERVICE_UNAVAILABLE")
	}
	h.store.set(func(s *fakeStore) { s.away = false })
	h.get("/cheap").want(t, 200, "")
}
