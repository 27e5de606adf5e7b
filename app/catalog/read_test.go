package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/money"
)

func TestEveryWrongFieldOfAnAPIIsNamedTogether(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, err := w.publishAPI().Do(t.Context(), PublishInput{
		Actor: w.dev.UserID, Slug: "Not A Slug", Name: " ", Description: "\x00", BaseURL: "ftp://x", LogoURL: "javascript:alert(1)", Category: "\t",
		Endpoints: []PublishEndpoint{
			{Method: "GET", Path: "/a", Price: "1"},
			{Method: "get", Path: "a", Price: "free", Description: "\x07"},
			{Method: "GET", Path: "/a/", Price: "1"},
		},
	})
	want := []string{
		"body.base_url", "body.category", "body.description", "body.endpoints[1].description", "body.endpoints[1].method",
		"body.endpoints[1].path", "body.endpoints[1].price_per_call_usdc", "body.endpoints[2]", "body.logo_url", "body.name", "body.slug",
	}
	if got := slices.Sorted(maps.Keys(wrong(t, err))); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if w.asked != nil {
		t.Errorf("%q was looked up although it is no URL", w.asked)
	}
}

func TestTextsAreBoundedInCharacters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		field string
		most  int
		set   func(in *PublishInput, s string)
	}{
		{"body.name", 200, func(in *PublishInput, s string) { in.Name = s }},
		{"body.category", 64, func(in *PublishInput, s string) { in.Category = s }},
		{"body.description", 5000, func(in *PublishInput, s string) { in.Description = s }},
		{"body.endpoints[0].description", 1000, func(in *PublishInput, s string) { in.Endpoints[0].Description = s }},
	} {
		w := newWorld()
		in := w.input()
		tc.set(&in, strings.Repeat("ü", tc.most))
		w.publish(t, in)
		for text, code := range map[string]string{
			strings.Repeat("ü", tc.most+1): "TOO_BIG", "\xff": "INVALID_FORMAT", "a\x00b": "INVALID_FORMAT", "a\x7fb": "INVALID_FORMAT",
		} {
			tc.set(&in, text)
			_, err := w.publishAPI().Do(t.Context(), in)
			if got := wrong(t, err); len(got) != 1 || got[tc.field].Code != code {
				t.Errorf("%s of %.10q: %v, want %s", tc.field, text, got, code)
			}
		}
	}
}

func TestOnlyDescriptionsHaveSeveralLines(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.input()
	in.Description, in.Endpoints[0].Description = "one\r\n\ttwo", "one\ntwo"
	w.publish(t, in)
	in.Name, in.Category = "one\ntwo", "a\tb"
	_, err := w.publishAPI().Do(t.Context(), in)
	if got := slices.Sorted(maps.Keys(wrong(t, err))); !slices.Equal(got, []string{"body.category", "body.name"}) {
		t.Errorf("wrong are %q", got)
	}
}

func TestTheBaseURLIsOneThatTheGatewayCanCall(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://api.example": true, "http://api.example:8080/v1/": true, "HTTPS://API.example": true, "https://[2001:db8::1]/": true,
		"": false, "api.example": false, "//api.example": false, "https://": false, "https://:443": false, "https:api.example": false,
		"ftp://api.example": false, "https://u:p@api.example": false, "https://u@api.example": false, "https://api.example?key=1": false,
		"https://api.example?": false, "https://api.example/#top": false, "https://api.example/#": false, " https://api.example": false,
		"https://api.example ": false, "https://api.example/v1 ": false, "https://api.example/\n": false, "https://api example": false, "https://api.example:port": false,
		"https://api.example/%zz": false, "https://api.example/" + strings.Repeat("a", 2048): false,
	} {
		w := newWorld()
		in := w.input()
		in.BaseURL = url
		_, err := w.publishAPI().Do(t.Context(), in)
		switch {
		case ok && err != nil:
			t.Errorf("%q: %v", url, err)
		case !ok && wrong(t, err)["body.base_url"].Code != "INVALID_FORMAT":
			t.Errorf("%.40q: %v", url, err)
		}
	}
}

func TestTheLogoIsAWebAddress(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"": true, "https://logo.example/w.png?size=1#x": true, "data:image/png;base64,AA": false, "javascript:alert(1)": false, "/w.png": false,
		"https://u:p@logo.example": false,
	} {
		w := newWorld()
		in := w.input()
		in.LogoURL = url
		_, err := w.publishAPI().Do(t.Context(), in)
		if ok != (err == nil) || !ok && wrong(t, err)["body.logo_url"].Code != "INVALID_FORMAT" {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestABlockedUpstreamIsNotPublished(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.blocked = "must be a public address"
	_, err := w.publishAPI().Do(t.Context(), w.input())
	if got := wrong(t, err)["body.base_url"]; got.Code != "UPSTREAM_BLOCKED" || got.Message != w.blocked {
		t.Errorf("got %+v", got)
	}
}

func TestASlugIsOneOrIsRefused(t *testing.T) {
	t.Parallel()
	for slug, ok := range map[string]bool{
		"a": true, "a-1": true, strings.Repeat("a", 80): true,
		"A": false, "a--b": false, "-a": false, "a-": false, "a b": false, "a/b": false, "ü": false, strings.Repeat("a", 81): false,
		"01980000-0000-7000-8000-000000000000": false,
	} {
		w := newWorld()
		in := w.input()
		in.Slug = slug
		got, err := w.publishAPI().Do(t.Context(), in)
		if ok && (err != nil || got.Slug != slug) || !ok && wrong(t, err)["body.slug"].Code != "INVALID_FORMAT" {
			t.Errorf("%q: %q, %v", slug, got.Slug, err)
		}
	}
}

func TestAPriceIsExactOrRefused(t *testing.T) {
	t.Parallel()
	accept := map[string]int64{
		"0": 0, "0.0000001": 1, "0.01": 100_000, "1.5000000": 15_000_000, "1000000": 10_000_000_000_000, "1000000.0000000": 10_000_000_000_000,
	}
	for text, stroops := range accept {
		w := newWorld()
		in := w.input()
		in.Endpoints[0].Price = text
		if got := w.publish(t, in).Endpoints[0].Price; got != money.FromStroops(stroops) {
			t.Errorf("%q is %s", text, got)
		}
	}
	const format, decimals, most = "such as", "at most 7 decimals", "at most 1000000"
	for text, says := range map[string]string{
		"": format, "free": format, "1,5": format, "1e3": format, "+1": format, " 1": format, ".5": format, "1.": format, "0x1": format, "NaN": format,
		"-1": "not negative", "-0": "not negative", "-99999999999999999999": "not negative", "-0.00000001": "not negative",
		"0.00000001": decimals, "0.10000000": decimals, "1000000.0000001": most, "99999999999999999999": most,
	} {
		w := newWorld()
		in := w.input()
		in.Endpoints[0].Price = text
		_, err := w.publishAPI().Do(t.Context(), in)
		if got := wrong(t, err)["body.endpoints[0].price_per_call_usdc"]; !strings.Contains(got.Message, says) {
			t.Errorf("%q: %+v, want a message that says %q", text, got, says)
		}
	}
}

func TestAnAPIHasOneTo200Endpoints(t *testing.T) {
	t.Parallel()
	for n, code := range map[int]string{0: "TOO_SMALL", 1: "", 200: "", 201: "TOO_BIG"} {
		w := newWorld()
		in := w.input()
		in.Endpoints = nil
		for i := range n {
			in.Endpoints = append(in.Endpoints, PublishEndpoint{Method: "GET", Path: fmt.Sprintf("/%d", i), Price: "0"})
		}
		_, err := w.publishAPI().Do(t.Context(), in)
		if code == "" && err != nil || code != "" && wrong(t, err)["body.endpoints"].Code != code {
			t.Errorf("%d endpoints: %v, want %q", n, err, code)
		}
	}
}

func TestNoCallHasTwoPrices(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b  string
		clash bool
	}{
		{"GET /a", "GET /a", true},
		{"GET /a", "GET /a/", true},
		{"GET /a/{x}", "GET /a/{y}", true},
		{"GET /a/{x}/b", "GET /a/{y}/b/", true},
		{"* *", "* *", true},
		{"GET /a", "POST /a", false},
		{"GET /a", "* /a", false}, // the very method comes before any method
		{"GET /a/{x}", "GET /a/b", false},
		{"GET /A", "GET /a", false},
		{"* *", "GET *", false},
		{"GET /", "GET *", false},
	} {
		w := newWorld()
		in := w.input()
		in.Endpoints = nil
		for _, op := range []string{"DELETE /z", tc.a, tc.b} {
			method, path, _ := strings.Cut(op, " ")
			in.Endpoints = append(in.Endpoints, PublishEndpoint{Method: method, Path: path, Price: "1"})
		}
		_, err := w.publishAPI().Do(t.Context(), in)
		if !tc.clash {
			if err != nil {
				t.Errorf("%s and %s: %v", tc.a, tc.b, err)
			}
			continue
		}
		got := wrong(t, err)
		if d := got["body.endpoints[2]"]; len(got) != 1 || d.Code != "DUPLICATE" || !strings.Contains(d.Message, "endpoints[1]") {
			t.Errorf("%s and %s: %v", tc.a, tc.b, got)
		}
	}
}

func TestAnEndpointHasAMethodThatCanBeCalled(t *testing.T) {
	t.Parallel()
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "*"} {
		w := newWorld()
		in := w.input()
		in.Endpoints[0].Method = m
		w.publish(t, in)
	}
	for _, m := range []string{"", "get", "CONNECT", "TRACE", "GET ", "ANY"} {
		w := newWorld()
		in := w.input()
		in.Endpoints[0].Method = m
		_, err := w.publishAPI().Do(t.Context(), in)
		if got := wrong(t, err)["body.endpoints[0].method"]; got.Code != "INVALID_VALUE" {
			t.Errorf("%q: %v", m, err)
		}
	}
}
