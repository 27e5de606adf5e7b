package listing

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCleanPathKeepsWhatTheCallerWrote(t *testing.T) {
	t.Parallel()
	for give, want := range map[string]string{
		"":                 "/",
		"/":                "/",
		"//":               "/",
		"/a":               "/a",
		"/a/":              "/a/",
		"a/b":              "/a/b",
		"//a///b//":        "/a/b/",
		"/./a/./b/.":       "/a/b/",
		"/a/../b":          "/b",
		"/a/..":            "/",
		"/..":              "/",
		"/../../a":         "/a",
		"/a/%2e%2e/b":      "/b",
		"/a/%2E./b":        "/b",
		"/a/.%2e/b":        "/b",
		"/a/%2e/b":         "/a/b",
		"/a/b/%2e%2e":      "/a/",
		"/...":             "/...",
		"/.well-known/x":   "/.well-known/x",
		"/a.b/c..d":        "/a.b/c..d",
		"/caf%C3%A9":       "/caf%C3%A9",
		"/café":            "/café",
		"/a%20b+c":         "/a%20b+c",
		"/%61":             "/%61",
		"/what%3F/a%23b":   "/what%3F/a%23b",
		"/%252e%252e/a":    "/%252e%252e/a", // decoded once it is a name, not a dot segment
		"/100%25":          "/100%25",
		`/a|b^"<>{}[]`:     `/a|b^"<>{}[]`,
		"/$&'()*+,=:@!~-_": "/$&'()*+,=:@!~-_",
	} {
		got, err := CleanPath(give)
		if err != nil || got.Escaped != want {
			t.Errorf("CleanPath(%q) = %q, %v; want %q", give, got.Escaped, err, want)
		}
	}
}

func TestCleanPathRefusesWhatServersReadDifferently(t *testing.T) {
	t.Parallel()
	for _, give := range []string{
		"/a%2Fb", "/a%2fb", "/%2F", "/..%2f", `/a\b`, "/a%5Cb", "/..%5c..", "/a;b", "/a%3Bb", "/..;/a", "/..%3b/a", "/a%00", "/a%0a",
		"/a%7F", "/a\x01", "/a%C2%85", "/%", "/%2", "/%zz", "/a%", "/%FF", "/\xff", "/%C0%AE%C0%AE/a", "/a#b", "/#", "/a?b",
	} {
		if got, err := CleanPath(give); !errors.Is(err, ErrPath) {
			t.Errorf("CleanPath(%q) = %q, %v; want a refusal", give, got.Escaped, err)
		}
	}
}

// wellMeant holds what every accepted path must fulfil: it is clean, and servers that clean or decode it once more see
// the same path that was priced.
func wellMeant(t interface{ Fatalf(string, ...any) }, give string) {
	p, err := CleanPath(give)
	if err != nil {
		return
	}
	again, err := CleanPath(p.Escaped)
	if err != nil || again != p {
		t.Fatalf("%q is cleaned to %+v, and that to %+v, %v", give, p, again, err)
	}
	decoded, err := url.PathUnescape(p.Escaped)
	if err != nil || decoded[0] != '/' {
		t.Fatalf("%q is cleaned to %q, which decodes to %q, %v", give, p.Escaped, decoded, err)
	}
	if bare := strings.TrimSuffix(decoded, "/"); bare != p.key || "/"+strings.TrimPrefix(bare, "/") != path.Clean(decoded) {
		t.Fatalf("%q is priced as %q and cleaned by the upstream to %q", give, p.key, path.Clean(decoded))
	}
	if strings.ContainsAny(decoded, `\;`) || strings.Contains(p.Escaped, "?") || strings.Contains(p.Escaped, "#") {
		t.Fatalf("%q is let through as %q", give, p.Escaped)
	}
}

func TestNoPathIsPricedAsOneAndReadAsAnother(t *testing.T) {
	t.Parallel()
	part := rapid.SampledFrom([]string{
		"/", "//", "a", "b", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", ";", "%3b", "%00", "%", "%25", "%25%32e", "é", "%c3%a9", "\xff", "#", "?", "+", "~", "-",
	})
	rapid.Check(t, func(t *rapid.T) {
		wellMeant(t, strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), ""))
	})
}

func FuzzCleanPath(f *testing.F) {
	for _, seed := range []string{"", "/a/%2e%2e/b/", "//a;b", "/%2F%5c", "/é/%C3%A9/.", "/a/..%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, give string) { wellMeant(t, give) })
}

func TestAPlainPathCostsNoAllocation(t *testing.T) {
	m := NewMatcher([]Endpoint{{Method: "GET", Path: "/users/{id}/posts"}, {Method: "GET", Path: "/users"}})
	if n := testing.AllocsPerRun(100, func() {
		for _, sent := range []string{"/users", "/users/17/posts"} {
			p, err := CleanPath(sent)
			if _, ok := m.Find("GET", p); !ok || err != nil {
				t.Fatal(sent, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCheckPathAcceptsTemplates(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"*", "/", "/a", "/a/", "/users/{id}", "/{a}/{b}", "/.well-known/x", "/a.b", "/v1/$batch:run", "/café", "/a-b_c~d"} {
		if err := CheckPath(p); err != nil {
			t.Errorf("CheckPath(%q): %v", p, err)
		}
	}
	for _, p := range []string{
		"", "a", "**", "/*?", "/a//b", "//", "/a//", "/./a", "/a/..", "/a?b", "/a#b", "/a%20b", "/a b", "/a;b", `/a\b`, "/a\n", "/\xff", "/{}", "/{a",
		"/a}", "/x{a}", "/{a}x", "/{a}{b}", "/{a/b}", "/{a}/{a}", "/" + strings.Repeat("a", maxPath),
	} {
		if CheckPath(p) == nil {
			t.Errorf("CheckPath(%q) accepts it", p)
		}
	}
}

func TestPathKeysAreEqualForTemplatesThatMatchTheSameCalls(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{{"/", ""}, {"/a", "/a/"}, {"/{id}", "/{name}/"}, {"/a/{x}/b", "/a/{y}/b/"}} {
		for _, p := range same[1:] {
			if PathKey(p) != PathKey(same[0]) {
				t.Errorf("%q and %q differ", p, same[0])
			}
		}
	}
	if PathKey("/a/{x}") == PathKey("/{x}/a") || PathKey("*") == PathKey("/") {
		t.Error("different templates have one key")
	}
}
