package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheMixIsWhatUsersSend(t *testing.T) {
	t.Parallel()
	mix := kinds[3].requests([]buyer{{slug: plainSlug + "0"}, {slug: secureSlug + "1", secure: true}})
	found := map[string]int{}
	for _, r := range mix {
		line, _, _ := strings.Cut(string(r.bytes), " HTTP/1.1")
		found[line]++
	}
	for line, want := range map[string]int{
		"GET /v1/call/plain-0/page": 6, "POST /v1/call/plain-0/orders": 3, "GET /v1/call/plain-0/export": 1,
		"GET /v1/call/secure-1/page": 6, "POST /v1/call/secure-1/orders": 3, "GET /v1/call/secure-1/export": 1,
	} {
		if found[line] != want {
			t.Errorf("%s: %d of %d, want %d", line, found[line], len(mix), want)
		}
	}
	if len(mix) != 20 {
		t.Errorf("%d requests, want 20", len(mix))
	}
	if only := kinds[2].requests([]buyer{{slug: plainSlug + "0"}, {slug: secureSlug + "1", secure: true}}); len(only) != 10 ||
		!strings.HasPrefix(string(only[0].bytes), "POST /v1/call/secure-1/") {
		t.Errorf("TLS sends %d requests, the first %.40q", len(only), only[0].bytes)
	}
}

func TestTheUpstreamAnswersEachShapeAndRefusesHalfABody(t *testing.T) {
	t.Parallel()
	for _, s := range shapes {
		for _, prefix := range []string{"", "/v1/call/plain-0"} { // as the gateway and as the bare proxy ask
			w := httptest.NewRecorder()
			upstream(w, httptest.NewRequest(s.method, prefix+s.path, strings.NewReader(s.body)))
			if w.Code != http.StatusOK || w.Body.Len() != s.answer || s.body != "" && len(s.body) != 1<<10 {
				t.Errorf("%s %s%s with %d bytes: %d, %d bytes", s.method, prefix, s.path, len(s.body), w.Code, w.Body.Len())
			}
		}
	}
	w := httptest.NewRecorder()
	upstream(w, httptest.NewRequest(postOrder.method, postOrder.path, strings.NewReader(postOrder.body[1:])))
	if w.Code != http.StatusBadRequest {
		t.Errorf("half a body: %d", w.Code)
	}
}
