package api_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// A request schema that leaves a door open for other fields lets a typo pass for a wish.
func TestEveryRequestSchemaIsClosed(t *testing.T) {
	t.Parallel()
	looked := 0
	var closed func(at string, s *openapi3.Schema)
	closed = func(at string, s *openapi3.Schema) {
		if len(s.AllOf)+len(s.AnyOf)+len(s.OneOf) > 0 || s.Not != nil {
			t.Errorf("%s: a composed schema cannot be closed with additionalProperties", at)
		}
		switch {
		case s.Type.Is(openapi3.TypeObject):
			looked++
			if has := s.AdditionalProperties.Has; has == nil || *has || s.AdditionalProperties.Schema != nil {
				t.Errorf("%s lacks additionalProperties: false", at)
			}
			for name, p := range s.Properties {
				closed(at+"."+name, p.Value)
			}
		case s.Type.Is(openapi3.TypeArray):
			closed(at+"[]", s.Items.Value)
		case s.Type == nil || len(s.Type.Slice()) != 1:
			t.Errorf("%s does not say its type", at)
		}
	}
	for path, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil {
				continue
			}
			for media, content := range op.RequestBody.Value.Content {
				closed(fmt.Sprintf("%s %s (%s)", method, path, media), content.Schema.Value)
			}
		}
	}
	if looked < 3 {
		t.Errorf("%d objects were looked at", looked)
	}
}

func TestAnUnknownFieldIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const endpoint = `{"path": "/a", "method": "GET", "price_per_call_usdc": "1"`
	api := func(more, moreOfEndpoint string) string {
		return `{"name": "N", "base_url": "https://a.example", "category": "c", "endpoints": [` + endpoint + moreOfEndpoint + `}]` + more + `}`
	}
	const ofAKey, ofAnAPI = "/api/apis/weather/keys", "/api/apis"
	for _, tc := range []struct{ path, body, want string }{
		{ofAKey, `{"scope": ["read"]}`, `body.scope: is not known here: did you mean "scopes"?`},
		{ofAKey, `{"rate_limit_per_minute": 5}`, `body.rate_limit_per_minute: is not known here: did you mean "rateLimitPerMinute"?`},
		{ofAKey, `{"Scopes": ["read"]}`, `body.Scopes: is not known here: did you mean "scopes"?`},
		{ofAKey, `{"ttl": 5}`, `body.ttl: is not known here: known are rateLimitPerMinute, scopes`},
		{ofAKey, `{"a b\u0000": 5}`, `body["a b\x00"]: is not known here: known are rateLimitPerMinute, scopes`},
		{ofAKey, `{"": 5}`, `body[""]: is not known here: known are rateLimitPerMinute, scopes`},
		{ofAKey, `{"` + strings.Repeat("x", 5000) + `": 5}`, `body["` + strings.Repeat("x", 64) + `..."]: is not known here: known are rateLimitPerMinute, scopes`},
		{
			ofAnAPI, api(`, "status": "draft"`, ""),
			"body.status: is not known here: known are base_url, category, description, endpoints, logo_url, name, slug",
		},
		{ofAnAPI, api(`, "baseUrl": "https://b.example"`, ""), `body.baseUrl: is not known here: did you mean "base_url"?`},
		{ofAnAPI, api("", `, "price": "2"`), "body.endpoints[0].price: is not known here: known are description, method, path, price_per_call_usdc"},
		{ofAnAPI, api("", `, "descriptoin": "x"`), `body.endpoints[0].descriptoin: is not known here: did you mean "description"?`},
	} {
		if got := w.as(t, w.seller, "POST", tc.path, tc.body).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{tc.want}) {
			t.Errorf("%.100s\ngot  %q\nwant %q", tc.body, got, tc.want)
		}
	}
}

func TestAFieldIsGivenOnceAtAnyDepth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for body, want := range map[string][]string{
		`{"name": "a", "name": "b"}`:                   {"body.name: must be given once"},
		`{"name": "a", "\u006eame": "b", "name": "c"}`: {"body.name: must be given once"},
		`{"endpoints": [{"path": "/"}, {"price_per_call_usdc": "1", "path": "/a", "price_per_call_usdc": "0"}], "slug": "a", "slug": "a"}`: {
			"body.endpoints[1].price_per_call_usdc: must be given once", "body.slug: must be given once",
		},
		`{"a": {"b": [[{"c": 1, "c": 2}]]}}`: {"body.a.b[0][0].c: must be given once"},
		`{"a": {"b": 1}, "c": {"b": 1}}`: {
			"body.a: is not known here: known are base_url, category, description, endpoints, logo_url, name, slug",
			"body.base_url: is required", "body.c: is not known here: known are base_url, category, description, endpoints, logo_url, name, slug",
			"body.category: is required", "body.endpoints: is required", "body.name: is required",
		},
	} {
		got := w.as(t, w.seller, "POST", "/api/apis", body).refused(400, "VALIDATION_ERROR")
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", body, got, want)
		}
	}
}

func TestABodyIsShallowUTF8(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for body, want := range map[string]string{
		"{\"name\": \"\xff\"}": "body: must be UTF-8 text",
		`{"a": ` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`: "body: must not be nested deeper than 32 levels",
		strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000):    "body: must not be nested deeper than 32 levels",
		`{"scopes": [1e99999999999999]}`:                                   "body.scopes[0]: must be of type string",
		`{"a": ` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`: "body.a: is not known here: known are rateLimitPerMinute, scopes",
		`{"scopes": ["read"]} {"scopes": ["*"]}`:                           "body: must be one JSON value",
	} {
		if got := w.as(t, w.consumer, "POST", "/api/apis/weather/keys", body).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{want}) {
			t.Errorf("%.40q\ngot  %q\nwant %q", body, got, want)
		}
	}
}

func TestAnOperationWithoutABodyTakesNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rotate := func(body string) answer {
		return w.as(t, w.consumer, "POST", "/api/keys/"+w.issue(t, w.consumer, "").ID+"/rotate", body)
	}
	for _, body := range []string{"", "{}", " {} ", "\n"} {
		if a := rotate(body); a.Code != 201 {
			t.Errorf("%q: %d %s", body, a.Code, a.Body)
		}
	}
	for _, body := range []string{`{"grace": 0}`, "x", "{}{}", strings.Repeat(" ", 100) + "x", `{"graceMs": 0}`} {
		if got := rotate(body).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"body: must be empty: this operation takes none"}) {
			t.Errorf("%q: %q", body, got)
		}
	}
	if got := w.as(t, w.consumer, "DELETE", "/api/keys/"+w.issue(t, w.consumer, "").ID, `{"at": "2030-01-01"}`).refused(400, "VALIDATION_ERROR"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	r := httptest.NewRequestWithContext(t.Context(), "DELETE", "/api/keys/"+newID().String(), &broken{})
	r.Header.Set("Authorization", w.token(t, w.consumer))
	if got := w.do(t, r).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"body: ended too early"}) {
		t.Errorf("%q", got)
	}
}

func TestASlipInAQueryNameIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.list(t, "maps", listing.Active)
	for query, want := range map[string]string{
		"Limit=1": `query.Limit: is not known here: did you mean "limit"?`, "SEARCH=x": `query.SEARCH: is not known here: did you mean "search"?`,
	} {
		if got := w.as(t, w.consumer, "GET", "/api/apis?"+query, "").refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q", query, got)
		}
	}
	for query, want := range map[string]string{
		"api_id=x": `query.api_id: is not known here: did you mean "apiId"?`, "group-by=day": `query.group-by: is not known here: did you mean "groupBy"?`,
	} {
		if got := w.as(t, w.consumer, "GET", "/api/usage?"+query, "").refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q", query, got)
		}
	}
	if a := w.as(t, w.consumer, "GET", "/api/apis?limit=1&utm_source=x&utm_source=y&fbclid=z", ""); a.Code != 200 {
		t.Errorf("what links pick up on their way: %d %s", a.Code, a.Body)
	}
}
