package gateway

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

// forTheOrigin are fields by which an answer speaks for its origin or host, as anybody may write them.
var forTheOrigin = map[string]string{
	"Alt-Svc": `h2="evil.example:443"`, "Strict-Transport-Security": "max-age=0", "Public-Key-Pins": `pin-sha256="x"`,
	"Public-Key-Pins-Report-Only": `pin-sha256="x"`, "Expect-CT": "max-age=1, enforce", "Clear-Site-Data": `"*"`, "NEL": `{"report_to":"x"}`,
	"Report-To": `{"group":"x"}`, "Accept-CH": "Sec-CH-UA-Full-Version-List", "Critical-CH": "Sec-CH-UA", "Origin-Agent-Cluster": "?0",
	"Service-Worker-Allowed": "/", "Set-Login": "logged-out", "alt_svc": "clear",
}

// ofTheAnswer are fields that concern their answer alone, and reach the caller.
var ofTheAnswer = map[string]string{
	"Content-Security-Policy": "default-src 'none'", "Server": "theirs", "Via": "1.1 theirs", "X-Powered-By": "them", "Www-Authenticate": `Basic realm="x"`,
	"Location": "https://elsewhere.example/", "Link": "</a>; rel=preload", "Reporting-Endpoints": `a="https://elsewhere.example/"`, "Retry-After": "1",
}

func TestAnUpstreamDoesNotSpeakForOurOrigin(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range forTheOrigin {
			w.Header()[name] = []string{value}
		}
		w.Header().Set("Link", "</early>")
		w.WriteHeader(http.StatusEarlyHints)
		for name, value := range ofTheAnswer {
			w.Header().Set(name, value)
		}
		w.Header().Set("Trailer", "Alt-Svc, Clear-Site-Data, X-Sum")
		_, _ = io.WriteString(w, "hello")
		w.Header().Set("X-Sum", "1")
	})
	conn, in := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\nX-Api-Key: " + h.key + "\r\n\r\n")
	defer conn.Close()
	all, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.ToLower(string(all)), "\r\n")
	if !strings.HasPrefix(string(all), "HTTP/1.1 103") || !slices.Contains(lines, "x-sum: 1") {
		t.Fatalf("answered %q", all)
	}
	for name := range forTheOrigin {
		for _, line := range lines {
			if field, _, _ := strings.Cut(line, ":"); field == strings.ToLower(name) {
				t.Errorf("an answer, an early hint or a trailer says %q", line)
			}
		}
	}
	for name, value := range ofTheAnswer {
		if !slices.Contains(lines, strings.ToLower(name+": "+value)) {
			t.Errorf("%s is gone", name)
		}
	}
}

func TestAnAnswerWithoutAContentTypeIsGivenNone(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		if r.URL.Path == "/base/expensive" {
			w.(http.Flusher).Flush() // of unknown length
		}
		_, _ = io.WriteString(w, "<html><script>alert(1)</script>")
	})
	for _, path := range []string{"/cheap", "/expensive"} {
		if r := h.get(path); r.StatusCode != 200 || r.Header["Content-Type"] != nil {
			t.Errorf("%s: %d, %q", path, r.StatusCode, r.Header["Content-Type"])
		}
	}
}

func TestACookieIsForItsAPIAlone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ path, said, want string }{
		"no path":                  {"/items/7", "a=1", "a=1; Path=/v1/call/weather/items"},
		"no path, at the root":     {"/cheap", "a=1", "a=1; Path=/v1/call/weather"},
		"the whole host":           {"/items/7", "a=1; Path=/", "a=1; Path=/v1/call/weather"},
		"the API's base":           {"/cheap", "a=1; path=/base", "a=1; Path=/v1/call/weather"},
		"below the API's base":     {"/cheap", "a=1; Path=/base/items; Secure", "a=1; Secure; Path=/v1/call/weather/items"},
		"like the API's base":      {"/cheap", "a=1; Path=/based", "a=1; Path=/v1/call/weather/based"},
		"out of the API":           {"/cheap", "a=1; Path=/v1/call/other", "a=1; Path=/v1/call/weather/v1/call/other"},
		"no path at all":           {"/items/7", "a=1; Path=items", "a=1; Path=/v1/call/weather/items"},
		"two paths":                {"/cheap", "a=1; Path=/x; Path=/", "a=1; Path=/v1/call/weather"},
		"a domain":                 {"/cheap", `a="1, 2"; Domain=.example.com; HttpOnly; SameSite=Lax; DOMAIN=x; Max-Age=5`, `a="1, 2"; HttpOnly; SameSite=Lax; Max-Age=5; Path=/v1/call/weather`},
		"secure by name":           {"/cheap", "__Secure-a=1; Secure", "__Secure-a=1; Secure; Path=/v1/call/weather"},
		"for the host by its name": {"/cheap", " __HOST-a=1; Secure; Path=/", ""},
		"empty attributes":         {"/cheap", "a=1;; ;", "a=1; Path=/v1/call/weather"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Set-Cookie"] = []string{test.said} })
			if got := h.get(test.path).Header.Get("Set-Cookie"); got != test.want {
				t.Errorf("%q became %q, want %q", test.said, got, test.want)
			}
		})
	}
}

// A jar is what clients have cookies in: one API's must come back to it, and to no other.
func TestAClientsJarKeepsEachAPIsCookiesApart(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Cookie")
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "theirs", Path: "/", Domain: "127.0.0.1"})
	})
	other := h.api
	other.ID, other.Slug = newID(), "other"
	h.store.setAPI(other)
	h.tell(change(other.ID))
	otherKey := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: other.ID, Scopes: []string{"*"}})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: client}
	call := func(slug, key string) string {
		r, err := http.NewRequestWithContext(t.Context(), "GET", h.front.URL+"/v1/call/"+slug+"/cheap", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		res, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return <-got
	}
	if first, second := call("weather", h.key), call("weather", h.key); first != "" || second != "session=theirs" {
		t.Errorf("the API got %q and then %q", first, second)
	}
	if foreign := call("other", otherKey); foreign != "" {
		t.Errorf("another API got %q", foreign)
	}
	us, _ := url.Parse(h.front.URL + "/api/auth/refresh")
	if ours := jar.Cookies(us); len(ours) != 0 {
		t.Errorf("we got %v", ours)
	}
}
