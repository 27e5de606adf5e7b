package listing

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func matcher(lines ...string) *Matcher {
	var endpoints []Endpoint
	for _, l := range lines {
		method, p, _ := strings.Cut(l, " ")
		endpoints = append(endpoints, Endpoint{Method: method, Path: p})
	}
	return NewMatcher(endpoints)
}

func found(e *Endpoint, ok bool) string {
	if !ok {
		return "nothing"
	}
	return e.Method + " " + e.Path
}

func TestACallBuysTheMostSpecificEndpoint(t *testing.T) {
	t.Parallel()
	m := matcher("GET /users/{id}", "POST /users/{id}", "GET /users/me", "* /users/me/{x}", "GET /users/{id}/posts", "GET /{a}/{b}",
		"PUT /users/me/photo", "GET /", "GET /caf\u00e9", "* *", "GET *")
	for call, want := range map[string]string{
		"GET /users/me":            "GET /users/me",
		"GET /users/me/":           "GET /users/me",
		"GET /users/%6de":          "GET /users/me",
		"GET //users/./x/../me":    "GET /users/me",
		"POST /users/me":           "POST /users/{id}", // /users/me is not sold for POST
		"GET /users/17":            "GET /users/{id}",
		"HEAD /users/17":           "GET /users/{id}",
		"DELETE /users/17":         "* *",
		"GET /users/17/posts":      "GET /users/{id}/posts",
		"GET /users/me/posts":      "* /users/me/{x}", // the literal comes first
		"PUT /users/me/photo":      "PUT /users/me/photo",
		"GET /users/me/photo":      "* /users/me/{x}",
		"GET /x/y":                 "GET /{a}/{b}",
		"GET /x/y/z/w":             "GET *",
		"GET /":                    "GET /",
		"GET ":                     "GET /",
		"HEAD /":                   "GET /",
		"POST /":                   "* *",
		"GET /caf%C3%A9":           "GET /café",
		"GET /users":               "GET *",
		"HEAD /usersme":            "GET *",
		"get /users/me":            "* *", // methods are case-sensitive
		"OPTIONS /users/me/photos": "* /users/me/{x}",
	} {
		method, sent, _ := strings.Cut(call, " ")
		p, err := CleanPath(sent)
		if err != nil {
			t.Fatal(err)
		}
		if got := found(m.Find(method, p)); got != want {
			t.Errorf("%s buys %s, want %s", call, got, want)
		}
	}
}

func TestWithoutAnEndpointForAllTheRestIsNotSold(t *testing.T) {
	t.Parallel()
	m := matcher("GET /a", "GET /b/{x}", "HEAD /b/{x}")
	for call, want := range map[string]string{
		"GET /a": "GET /a", "POST /a": "nothing", "GET /a/b": "nothing", "GET /b": "nothing", "GET /b/": "nothing", "GET /": "nothing",
		"HEAD /a": "GET /a", "HEAD /b/1": "HEAD /b/{x}", "GET /b/1/2": "nothing", "GET /b/1/": "GET /b/{x}",
	} {
		method, sent, _ := strings.Cut(call, " ")
		p, _ := CleanPath(sent)
		if got := found(m.Find(method, p)); got != want {
			t.Errorf("%s buys %s, want %s", call, got, want)
		}
	}
	if got := found(m.Any("GET")); got != "nothing" {
		t.Errorf("any path buys %s", got)
	}
	if got := found(matcher("GET *").Any("HEAD")); got != "GET *" {
		t.Errorf("HEAD of any path buys %s", got)
	}
	if got := found(NewMatcher(nil).Find("GET", Path{Escaped: "/"})); got != "nothing" {
		t.Errorf("an empty matcher sells %s", got)
	}
}

// The model tries every endpoint and ranks those that match, in the words of Find.
func TestFindAgreesWithTheRules(t *testing.T) {
	t.Parallel()
	segment := rapid.SampledFrom([]string{"a", "b", "{x}"})
	method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "*"})
	rapid.Check(t, func(t *rapid.T) {
		sold := map[string]Endpoint{} // one per method and PathKey, as publishing demands
		for range rapid.IntRange(0, 8).Draw(t, "endpoints") {
			e := Endpoint{Method: method.Draw(t, "method"), Path: AnyPath}
			if !rapid.Bool().Draw(t, "any") {
				e.Path = "/" + strings.Join(rapid.SliceOfN(segment, 0, 3).Draw(t, "template"), "/")
			}
			sold[e.Method+PathKey(e.Path)] = e
		}
		var list []Endpoint
		for _, e := range sold {
			list = append(list, e)
		}
		call := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT"}).Draw(t, "call")
		segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(t, "segments")
		p, err := CleanPath("/" + strings.Join(segments, "/"))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := NewMatcher(list).Find(call, p)
		want := best(list, call, segments)
		if ok != (want != nil) || ok && (got.Method != want.Method || got.Path != want.Path) {
			t.Fatalf("%s %v of %v buys %s, want %v", call, segments, list, found(got, ok), want)
		}
	})
}

func best(sold []Endpoint, method string, segments []string) *Endpoint {
	rank := func(e Endpoint) (key string, fits bool) { // smaller is better
		byMethod := map[string]string{method: "0", AnyMethod: "2"}
		if method == "HEAD" {
			byMethod["GET"] = "1"
		}
		m, fits := byMethod[e.Method]
		if e.Path == AnyPath {
			return "~" + m, fits
		}
		template := strings.Split(strings.Trim(e.Path, "/"), "/")
		if e.Path == "/" {
			template = nil
		}
		if len(template) != len(segments) {
			return "", false
		}
		for i, s := range template {
			switch s {
			case "{x}":
				key += "1"
			case segments[i]:
				key += "0"
			default:
				return "", false
			}
		}
		return key + m, fits
	}
	var fitting []Endpoint
	for _, e := range sold {
		if _, ok := rank(e); ok {
			fitting = append(fitting, e)
		}
	}
	if len(fitting) == 0 {
		return nil
	}
	b := slices.MinFunc(fitting, func(a, b Endpoint) int {
		x, _ := rank(a)
		y, _ := rank(b)
		return cmp.Compare(x, y)
	})
	return &b
}
