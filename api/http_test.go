package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

func (w *world) plain(t *testing.T, method, target string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", nil)
	path, query, _ := strings.Cut(target, "?")
	r.URL.Path, r.URL.RawQuery = path, query
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return w.do(t, r)
}

func TestWhatTheSpecDoesNotHaveIsRefusedInOurForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{
		"/", "/api", "/api/", "/api/apis/", "/api//apis", "/api/./apis", "/api/x/../apis", "/API/apis", "/api/apis/weather/keys/", "", "*", "/api/apis/a/b/c",
	} {
		w.plain(t, "GET", path).refused(404, "NOT_FOUND")
	}
	for target, allow := range map[string]string{
		"PUT /api/apis": "GET, HEAD, POST", "GET /api/keys/1": "DELETE", "DELETE /api/keys": "GET, HEAD", "OPTIONS /api/health": "GET, HEAD",
		"BREW /api/usage": "GET, HEAD", "GET /api/keys/1/rotate": "POST",
	} {
		method, path, _ := strings.Cut(target, " ")
		a := w.plain(t, method, path)
		a.refused(405, "METHOD_NOT_ALLOWED")
		if got := a.Header().Get("Allow"); got != allow {
			t.Errorf("%s: allowed is %q, want %q", target, got, allow)
		}
	}
}

func TestHEADAnswersLikeGET(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if a := w.plain(t, "HEAD", "/api/apis?limit=1"); a.Code != 200 {
		t.Errorf("%d", a.Code)
	}
}

func TestABodyIsOneSmallJSONValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.BodyLimit = 100 })
	post := func(contentType string, body io.Reader) answer {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/apis", body)
		r.Header.Set("X-User-Id", w.seller.String())
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		return w.do(t, r)
	}
	for _, wrong := range []string{"{", `{"name": "x"} {}`, `{"name": }`, "\x00", `{"a": "` + "\x01" + `"}`, "{}}", "<xml/>", strings.Repeat("[", 90)} {
		if got := post("application/json", strings.NewReader(wrong)).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"body: must be one JSON value"}) {
			t.Errorf("%q: %q", wrong, got)
		}
	}
	if got := post("application/json", nil).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"body: is required"}) {
		t.Errorf("no body: %q", got)
	}
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/xml", "application/json-patch+json", ";"} {
		post(contentType, strings.NewReader("{}")).refused(415, "UNSUPPORTED_MEDIA_TYPE")
	}
	for _, contentType := range []string{"application/json; charset=utf-8", "Application/JSON"} {
		post(contentType, strings.NewReader("{}")).refused(400, "VALIDATION_ERROR")
	}
	large := strings.Repeat(" ", 99) + "{}"
	post("application/json", strings.NewReader(large)).refused(413, "REQUEST_BODY_TOO_LARGE")
	post("application/json", io.MultiReader(strings.NewReader(large))).refused(413, "REQUEST_BODY_TOO_LARGE") // of unknown length
	post("application/json", strings.NewReader(large[1:])).refused(400, "VALIDATION_ERROR")
	if got := post("application/json", &broken{}).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"body: ended too early"}) {
		t.Errorf("a broken body: %q", got)
	}
}

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestOurFaultsTellTheCallerNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fail   error
		status int
		code   string
	}{
		{errors.New("dial postgres://u:secret@db"), 500, "INTERNAL_SERVER_ERROR"},
		{fault.New(fault.Internal, "ODD", "secret"), 500, "INTERNAL_SERVER_ERROR"},
		{fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: later").Because(errors.New("secret")), 503, "SERVICE_UNAVAILABLE"},
		{context.DeadlineExceeded, 503, "SERVICE_UNAVAILABLE"},
	} {
		w := newWorld(t)
		w.keys.Fail, w.catalog.Fail, w.vaults.Fail, w.usage.Fail = tc.fail, tc.fail, tc.fail, tc.fail
		one := newID().String()
		for _, target := range []string{
			"GET /api/apis", "GET /api/apis/x", "POST /api/apis", "POST /api/apis/x/keys", "GET /api/keys", "POST /api/keys/" + one + "/rotate",
			"DELETE /api/keys/" + one, "GET /api/vault/balance", "GET /api/usage",
		} {
			method, path, _ := strings.Cut(target, " ")
			body := ""
			if target == "POST /api/apis" {
				body = `{"name": "x", "base_url": "https://a.example", "category": "c", "endpoints": [{"path": "/", "method": "GET", "price_per_call_usdc": "1"}]}`
			}
			a := w.as(t, w.seller, method, path, body)
			a.refused(tc.status, tc.code)
			if strings.Contains(a.Body.String(), "secret") || strings.Contains(a.Body.String(), "ODD") {
				t.Errorf("%s leaks %s", target, a.Body)
			}
			last := w.logs.All()[w.logs.Len()-1]
			if last.Level != zap.ErrorLevel || last.ContextMap()["error"] == nil {
				t.Errorf("%s: the log has no cause: %v", target, last.ContextMap())
			}
		}
	}
}

type explosive struct {
	ports.Limiter
	value any
}

func (e explosive) Take(string, int, time.Duration) ports.Decision { panic(e.value) }

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.RateLimit, w.deps.Limiter = 1, explosive{value: "secret"} })
	a := w.as(t, w.consumer, "GET", "/api/keys", "")
	a.refused(500, "INTERNAL_SERVER_ERROR")
	if strings.Contains(a.Body.String(), "secret") {
		t.Error(a.Body)
	}
	if a.Header().Get("X-Content-Type-Options") != "nosniff" || a.Header().Get("X-Request-Id") == "" {
		t.Errorf("the answer lacks what every answer has: %v", a.Header())
	}
	if n := w.logs.FilterMessage("a request panicked").Len(); n != 1 {
		t.Errorf("%d panics logged", n)
	}
	if w.observed.seen[0] != "GET /api/keys auth Internal Server Error" {
		t.Error(w.observed.seen)
	}
}

func TestAPanicAfterTheFirstByteBreaksTheConnection(t *testing.T) {
	t.Parallel()
	for _, value := range []any{"late", http.ErrAbortHandler} {
		w := newWorld(t, func(w *world) {
			w.deps.Metrics = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(rw, "up")
				panic(value)
			})
		})
		func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler {
					t.Errorf("%v became %v", value, p)
				}
			}()
			w.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/api/metrics", nil))
		}()
		if n := w.logs.FilterMessage("request completed").Len(); n != 1 {
			t.Errorf("%d lines", n)
		}
	}
}

func TestARequestIDIsKeptWhenItIsSound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for give, want := range map[string]string{
		"abc-1": "abc-1", " a b ": "a b", "a\x07\tb": "ab", strings.Repeat("x", 128): strings.Repeat("x", 128),
		strings.Repeat("x", 129): "", "": "", "\x01": "", "sürprise": "",
	} {
		a := w.plain(t, "GET", "/nowhere", "X-Request-Id", give)
		got := a.Header().Get("X-Request-Id")
		if _, err := id.Parse(got); want == "" && err != nil || want != "" && got != want {
			t.Errorf("%q becomes %q, want %q", give, got, want)
		}
	}
}

func TestEveryRequestHasOneLineInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Proxies.LastHop = true })
	w.plain(t, "GET", "/api/apis/weather?token=secret", "X-Request-Id", "r1", "X-Forwarded-For", "6.6.6.6, 192.0.2.9")
	w.plain(t, "GET", "/api/keys", "X-Forwarded-For", "nonsense")
	w.plain(t, "GET", "/made/up")
	w.as(t, w.consumer, "GET", "/api/keys", "")
	lines := w.logs.FilterMessage("request completed").All()
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}
	c := lines[0].ContextMap()
	if c["requestId"] != "r1" || c["method"] != "GET" || c["path"] != "/api/apis/weather" || c["route"] != "/api/apis/{id}" || c["statusCode"] != int64(200) ||
		c["clientIp"] != "192.0.2.9" || c["durationMs"] == nil || lines[0].Level != zap.InfoLevel {
		t.Errorf("%v", c)
	}
	if c := lines[1].ContextMap(); lines[1].Level != zap.WarnLevel || c["code"] != "UNAUTHORIZED" || c["clientIp"] != "192.0.2.1" {
		t.Errorf("%v", c)
	}
	if c := lines[2].ContextMap(); c["route"] != "_unknown" {
		t.Errorf("%v", c)
	}
	if c := lines[3].ContextMap(); c["userId"] != w.consumer.String() {
		t.Errorf("%v", c)
	}
	want := []string{"GET /api/apis/{id} apis OK", "GET /api/keys auth Unauthorized", "GET _unknown other Not Found", "GET /api/keys auth OK"}
	if !slices.Equal(w.observed.seen, want) {
		t.Errorf("counted %q", w.observed.seen)
	}
}

func TestACallerWhoLeavesIsNoErrorOfOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.catalog.Fail = context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.do(t, httptest.NewRequestWithContext(ctx, "GET", "/api/apis", nil)).refused(503, "SERVICE_UNAVAILABLE")
	if l := w.logs.All()[0]; l.ContextMap()["statusCode"] != int64(499) || l.Level != zap.WarnLevel {
		t.Errorf("%v", l.ContextMap())
	}
}

// counting is a limiter that lets so many pass of every key.
type counting struct{ used map[string]int }

func (c counting) Take(key string, limit int, window time.Duration) ports.Decision {
	c.used[key]++
	left := limit - c.used[key]
	return ports.Decision{Allowed: left >= 0, Limit: limit, Remaining: left, Reset: window - time.Millisecond, RetryAfter: time.Millisecond}
}

func (c counting) Return(key string, _ int, _ time.Duration) { c.used[key]-- }

func TestAUserIsLimitedAndToldSo(t *testing.T) {
	t.Parallel()
	limiter := counting{map[string]int{}}
	w := newWorld(t, func(w *world) { w.cfg.RateLimit, w.cfg.RateWindow, w.deps.Limiter = 2, time.Minute, limiter })
	for _, left := range []string{"1", "0"} {
		a := w.as(t, w.consumer, "GET", "/api/keys", "")
		if h := a.Header(); a.Code != 200 || h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != left || h.Get("X-RateLimit-Reset") != "60" ||
			h.Get("Retry-After") != "" {
			t.Errorf("%d %v", a.Code, h)
		}
	}
	a := w.as(t, w.consumer, "GET", "/api/vault/balance", "")
	a.refused(429, "TOO_MANY_REQUESTS")
	if h := a.Header(); h.Get("Retry-After") != "1" || h.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("%v", h)
	}
	w.as(t, w.seller, "GET", "/api/keys", "").into(200, &struct{}{})
	for range 2 {
		w.plain(t, "GET", "/api/keys", "Authorization", "Bearer x").refused(401, "INVALID_TOKEN")
	}
	w.plain(t, "GET", "/api/keys", "Authorization", "Bearer x").refused(429, "TOO_MANY_REQUESTS")
	if len(limiter.used) != 3 || limiter.used["rest:ip:192.0.2.1"] != 3 || limiter.used["rest:user:"+w.consumer.String()] != 3 {
		t.Error(limiter.used)
	}
}

func TestWhatIsOpenToAllIsLimitedByAddressBeforeItCosts(t *testing.T) {
	t.Parallel()
	limiter := counting{map[string]int{}}
	w := newWorld(t, func(w *world) {
		w.cfg.PublicLimit, w.cfg.RateWindow, w.deps.Limiter = 3, time.Minute, limiter
		w.cfg.Proxies.LastHop = true
	})
	from := func(address, target string) answer { return w.plain(t, "GET", target, "X-Forwarded-For", address) }
	for i, target := range []string{"/api/apis", "/api/apis/weather", "/api/apis/nothing", "/api/apis", "/api/apis/weather", "/api/apis?limit=x"} {
		if i == 3 {
			w.catalog.Fail = errors.New("asked although the limit was used up")
		}
		a := from("2001:db8:1:2::"+strconv.Itoa(i), target) // one subscriber
		if i < 3 && a.Code >= 429 || a.Header().Get("X-RateLimit-Limit") != "3" {
			t.Errorf("request %d: %d %v", i, a.Code, a.Header())
		}
		if i >= 3 {
			a.refused(429, "TOO_MANY_REQUESTS")
			if a.Header().Get("Retry-After") == "" {
				t.Errorf("%v", a.Header())
			}
		}
	}
	w.catalog.Fail = nil
	for _, other := range []string{"2001:db8:1:3::1", "192.0.2.77"} {
		from(other, "/api/apis").into(200, &struct{}{})
	}
	from("2001:db8:1:2::9", "/api/health").into(200, &struct{}{}) // who watches the node is not counted with who searches it
	w.as(t, w.consumer, "GET", "/api/keys", "").into(200, &struct{}{})
	if limiter.used["rest:public:apis:2001:db8:1:2::/64"] != 6 {
		t.Error(limiter.used)
	}
}

func TestSecurityHeadersAreOnEveryAnswer(t *testing.T) {
	t.Parallel()
	for _, production := range []bool{false, true} {
		w := newWorld(t, func(w *world) { w.cfg.Production = production })
		for _, path := range []string{"/api/apis", "/nowhere", "/api/keys"} {
			h := w.plain(t, "GET", path).Header()
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") == "" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-src 'none'") ||
				h.Get("Referrer-Policy") != "strict-origin-when-cross-origin" {
				t.Errorf("%s: %v", path, h)
			}
			if strict := h.Get("Strict-Transport-Security") == "max-age=31536000; includeSubDomains; preload"; strict != production {
				t.Errorf("production %v: %v", production, h)
			}
		}
		if c := w.as(t, w.consumer, "GET", "/api/keys", "").Header().Get("Cache-Control"); c != "no-store" {
			t.Errorf("what is private may be cached: %q", c)
		}
	}
}

func TestPagesOfKnownOriginsMayCall(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		origin      string
		development bool
		ok          bool
	}{
		{"https://shop.example", false, true}, {"https://SHOP.example", false, true}, {"https://evil.example", true, false}, {"http://localhost:5999", true, true},
		{"http://localhost", true, true}, {"http://localhost:5999", false, false}, {"http://localhost.evil.example", true, false}, {"http://localhost:80.evil.example", true, false},
		{"https://localhost:1", true, false}, {"null", true, false}, {"http://localhost:", true, false},
	} {
		w := newWorld(t, func(w *world) {
			w.cfg.CORS = edge.CORS{Origins: []string{" https://shop.example/ "}, Development: tc.development, Production: !tc.development}
		})
		a := w.plain(t, "GET", "/api/apis", "Origin", tc.origin)
		h := a.Header()
		if a.Code != 200 || (h.Get("Access-Control-Allow-Origin") == tc.origin) != tc.ok || (h.Get("Access-Control-Allow-Credentials") == "true") != tc.ok {
			t.Errorf("%+v: %d %v", tc, a.Code, h)
		}
		if exposed := strings.ToLower(h.Get("Access-Control-Expose-Headers")); tc.ok &&
			(!strings.Contains(exposed, "x-request-id") || !strings.Contains(exposed, "retry-after") || !strings.Contains(exposed, "x-ratelimit-limit") || !strings.Contains(exposed, "x-callora-charge")) {
			t.Errorf("exposed are %q", exposed)
		}
		pre := w.plain(t, "OPTIONS", "/api/keys", "Origin", tc.origin, "Access-Control-Request-Method", "PUT",
			"Access-Control-Request-Headers", "authorization,content-type,idempotency-key,x-admin-api-key,x-api-key,x-request-id,x-user-id")
		if pre.Code != 204 || (pre.Header().Get("Access-Control-Allow-Methods") == "PUT") != tc.ok || (pre.Header().Get("Access-Control-Allow-Headers") != "") != tc.ok {
			t.Errorf("preflight of %+v: %d %v", tc, pre.Code, pre.Header())
		}
		if age := map[bool]string{true: "86400", false: "600"}[tc.development]; tc.ok && pre.Header().Get("Access-Control-Max-Age") != age {
			t.Errorf("%+v: asked again after %s", tc, pre.Header().Get("Access-Control-Max-Age"))
		}
	}
}

func TestAPreflightMayNameHeadersInAnyForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.CORS = edge.CORS{Origins: []string{"https://shop.example"}} })
	for _, names := range [][]string{
		{"content-type,x-api-key"}, {"X-Api-Key, Content-Type"}, {"X-Api-Key,Content-Type"}, {"X-Api-Key", "content-type"},
	} {
		header := []string{"Origin", "https://shop.example", "Access-Control-Request-Method", "POST"}
		for _, n := range names {
			header = append(header, "Access-Control-Request-Headers", n)
		}
		if got := w.plain(t, "OPTIONS", "/api/apis", header...).Header().Get("Access-Control-Allow-Headers"); got != "content-type,x-api-key" {
			t.Errorf("%q: allowed is %q", names, got)
		}
	}
	strange := w.plain(t, "OPTIONS", "/api/apis", "Origin", "https://shop.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "X-Strange")
	if got := strange.Header().Get("Access-Control-Allow-Headers"); got != "" {
		t.Errorf("an unknown header is allowed: %q", got)
	}
}
