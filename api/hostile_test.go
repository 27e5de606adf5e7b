package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// hostileTexts are what somebody who wants trouble writes where a value is expected, as they stand in a URL.
var hostileTexts = []string{
	"", "%00", "a%00b", "%ff", "%c0%80", "%", "%zz", ";", "a;b", "'", "%22", "%25", "%5C", "..", "%2e%2e", "%2F", "a%2Fb", "%0a", "%E2%80%AE",
	"0", "-1", "+1", "1e9", "2147483648", "99999999999999999999", "null", "{}", "[]", strings.Repeat("a", 300), "weather",
	"00000000-0000-0000-0000-000000000000", "01980000-0000-7000-8000-000000000021", "AZgAAAAAcACAAAAAAAAAUQ",
	"0001-01-01", "1969-12-31", "2026-02-30", "9999-12-31", "9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00%2B01:00", "2026-01-01T00:00:00%2B99:99",
}

var queryNames = []string{"limit", "offset", "page", "search", "category", "from", "to", "apiId", "groupBy", "cursor", "network", "unknown"}

// send is as without a client's care: the target goes out as it is written. What no HTTP server would take is left out.
func (w *world) send(t *testing.T, user id.ID, method, target, contentType, body string) (a answer, sent bool) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
	u, err := r.URL.Parse(target)
	if err != nil {
		return answer{}, false
	}
	r.URL, r.RequestURI = u, target
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("X-User-Id", user.String())
	a = w.do(t, r)
	if a.Code >= http.StatusInternalServerError {
		t.Errorf("%s %s %.200q is our fault: %d %s", method, target, body, a.Code, a.Body)
	}
	return a, true
}

func TestNoURLIsOurFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, text := range hostileTexts {
		for _, template := range []string{"/api/apis/%s", "/api/apis/%s/keys", "/api/keys/%s", "/api/keys/%s/rotate", "/api/%s", "/%s"} {
			for _, method := range []string{"GET", "POST", "DELETE", "PUT", "TRACE", "BREW"} {
				w.send(t, w.consumer, method, fmt.Sprintf(template, text), "", "")
			}
		}
		for _, path := range []string{"/api/health", "/api/apis", "/api/keys", "/api/vault/balance", "/api/usage"} {
			for _, name := range queryNames {
				w.send(t, w.consumer, "GET", path+"?"+name+"="+text, "", "")
				w.send(t, w.consumer, "GET", path+"?"+name+"="+text+"&"+name+"="+text, "", "")
			}
		}
	}
}

func TestTheLastMomentsOfTheCalendarAreHandled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, query := range []string{"to=9999-12-31T23:59:59Z", "from=1970-01-01&to=1970-01-01"} {
		if a := w.as(t, w.consumer, "GET", "/api/usage?"+query, ""); a.Code != http.StatusOK {
			t.Errorf("%s: %d %s", query, a.Code, a.Body)
		}
	}
	for _, query := range []string{"to=9999-12-31T23:59:59-00:01", "from=1970-01-01T00:00:00%2B00:01"} { // beyond, in UTC
		w.as(t, w.consumer, "GET", "/api/usage?"+query, "").refused(400, "VALIDATION_ERROR")
	}
}

func TestAQueryIsJudgedOnlyWhereOneIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if a, _ := w.send(t, id.ID{}, "GET", "/api/health?%zz", "", ""); a.Code != http.StatusOK {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	a, _ := w.send(t, id.ID{}, "GET", "/api/apis?limit=1;offset=2", "", "")
	if got := a.refused(400, "VALIDATION_ERROR"); len(got) != 1 || !strings.HasPrefix(got[0], "query: ") {
		t.Errorf("%q", got)
	}
}

// hostileValues are put in the place of every field.
var hostileValues = []any{
	nil, true, 0, -1, 1.5, json.Number("1e300"), json.Number("99999999999999999999999"), "", " ", "\x00", "a\x00b", "\u202e", "GET:/a\x00",
	"*", "read", "GET", "/a", "/a/{b}/{b}", "/\x00", "/a b", "\ufffd", "0.01", "-0", "1e3", "0.00000001", "1000001", "99999999999999999999",
	"https://x.example", "https://[::1]", "https://a b", "https://u:p@h", "https://h?q", "http://\x00", "https://x.example/%zz",
	strings.Repeat("x", 3000), strings.Repeat("é", 200), []any{}, []any{nil}, []any{"read", "read"}, []any{"GET:/a\x00"}, map[string]any{}, map[string]any{"a": nil},
}

func newAPI() (body, endpoint map[string]any) {
	endpoint = map[string]any{"method": "GET", "path": "/a", "price_per_call_usdc": "0.01"}
	return map[string]any{"name": "N", "base_url": "https://x.example", "category": "c", "endpoints": []any{endpoint}}, endpoint
}

func TestNoBodyIsOurFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	post := func(path string, user id.ID, body any) answer {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := w.send(t, user, "POST", path, "application/json", string(text))
		return a
	}
	for _, v := range hostileValues {
		for _, field := range []string{"name", "slug", "description", "base_url", "logo_url", "category", "endpoints", "status"} {
			body, _ := newAPI()
			body[field] = v
			if a := post("/api/apis", w.seller, body); a.Code == http.StatusCreated && strings.Contains(a.Body.String(), `\u0000`) {
				t.Errorf("a zero byte was published in %s", field) // PostgreSQL has no text with one
			}
		}
		for _, field := range []string{"method", "path", "price_per_call_usdc", "description", "Path"} {
			body, endpoint := newAPI()
			endpoint[field] = v
			if a := post("/api/apis", w.seller, body); a.Code == http.StatusCreated && strings.Contains(a.Body.String(), `\u0000`) {
				t.Errorf("a zero byte was published in endpoints[0].%s", field)
			}
		}
		for _, field := range []string{"scopes", "rateLimitPerMinute", "Scopes"} {
			if a := post("/api/apis/weather/keys", w.consumer, map[string]any{field: v}); a.Code == http.StatusCreated && strings.Contains(a.Body.String(), `\u0000`) {
				t.Errorf("a zero byte was accepted in %s", field)
			}
		}
		post("/api/apis/weather/keys", w.consumer, v)
		post("/api/apis", w.seller, v)
	}
}

func TestNothingButJSONIsABody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, body := range []string{
		"{", "[", "nul", "{}{}", "{} x", "\xff", `{"name":"\ud800"}`, "\xef\xbb\xbf{}", strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 10000),
	} {
		for _, contentType := range []string{"", ";", "application/json", "APPLICATION/JSON; charset=utf-8", "text/plain", "multipart/form-data"} {
			for _, path := range []string{"/api/apis", "/api/apis/weather/keys"} {
				a, _ := w.send(t, w.seller, "POST", path, contentType, body)
				want := []int{http.StatusUnsupportedMediaType}
				if strings.HasPrefix(strings.ToLower(contentType), "application/json") {
					want = []int{http.StatusBadRequest, http.StatusCreated}
				}
				if !slices.Contains(want, a.Code) {
					t.Errorf("%s with %q as %q: %d", path, body[:min(len(body), 20)], contentType, a.Code)
				}
			}
		}
	}
}

func TestNoDamagedBodyIsOurFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body, _ := newAPI()
	sound, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewSource(7))
	for range 1000 {
		text := bytes.Clone(sound)
		for range 1 + chance.Intn(4) {
			switch at := chance.Intn(len(text)); chance.Intn(3) {
			case 0:
				text[at] = byte(chance.Intn(256))
			case 1:
				text = slices.Delete(text, at, at+1)
			case 2:
				text = slices.Insert(text, at, "\"\\u{}[],:1e9"[chance.Intn(12)])
			}
		}
		w.send(t, w.seller, "POST", "/api/apis", "application/json", string(text))
	}
}
