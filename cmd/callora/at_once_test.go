package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/cmd/callora/seed"
)

// What a node's REST API has done counts at its gateway before the answer is given.
func TestANodeKnowsAtOnceWhatItHasDoneItself(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }))
	t.Cleanup(upstream.Close)
	address, _ := seeded(t, upstream.URL)
	p := launch(t, servingOn(address, "DEV_USER_HEADER_FROM", "loopback", "REST_RATE_LIMIT_MAX_REQUESTS", "1000000",
		"UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://"), "KEY_ROTATION_GRACE_MS", "0"), "serve")
	origin := p.listening(t)
	do := func(method, path, body string, want int, headers ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, origin+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != want {
			t.Fatalf("%s %s: %d %s, %v; want %d", method, path, res.StatusCode, text, err, want)
		}
		return string(text)
	}
	type made struct{ ID, Slug, Key string }
	developer, consumer := seed.SellerOne.String(), seed.Consumer.String()
	for round := range 200 {
		api := decode[made](t, do("POST", "/api/apis", fmt.Sprintf(`{"name": "API %d", "base_url": %q, "category": "c", "endpoints":
			[{"method": "GET", "path": "/a", "price_per_call_usdc": "0.0001"}]}`, round, upstream.URL), 201, "X-User-Id", developer))
		key := decode[made](t, do("POST", "/api/apis/"+api.ID+"/keys", "", 201, "X-User-Id", consumer))
		call := func(key string, want int) {
			t.Helper()
			do("GET", "/v1/call/"+api.Slug+"/a", "", want, "X-Api-Key", key)
		}
		call(key.Key, 200)
		next := decode[made](t, do("POST", "/api/keys/"+key.ID+"/rotate", "", 201, "X-User-Id", consumer))
		call(key.Key, 403)
		call(next.Key, 200)
		do("DELETE", "/api/keys/"+next.ID, "", 204, "X-User-Id", consumer)
		call(next.Key, 403)
	}
}
