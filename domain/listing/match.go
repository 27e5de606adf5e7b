package listing

import (
	"cmp"
	"slices"
	"strings"
)

// Matcher is what an API sells, compiled for matching. It is immutable.
type Matcher struct {
	exact    map[string][]Endpoint // by PathKey; paths without parameters
	patterns []pattern             // most specific first
	catchAll []Endpoint            // AnyPath
}

// pattern is a path with parameters.
type pattern struct {
	segments []string // "" for a parameter
	sold     []Endpoint
}

// NewMatcher compiles endpoints.
func NewMatcher(endpoints []Endpoint) *Matcher {
	m := &Matcher{exact: map[string][]Endpoint{}}
	byKey := map[string]int{}
	for _, e := range endpoints {
		key := PathKey(e.Path)
		switch {
		case e.Path == AnyPath:
			m.catchAll = append(m.catchAll, e)
		case !strings.Contains(key, "{}"):
			m.exact[key] = append(m.exact[key], e)
		default:
			at, ok := byKey[key]
			if !ok {
				at = len(m.patterns)
				byKey[key] = at
				m.patterns = append(m.patterns, pattern{segments: templateSegments(key)})
			}
			m.patterns[at].sold = append(m.patterns[at].sold, e)
		}
	}
	slices.SortStableFunc(m.patterns, func(a, b pattern) int { return moreSpecific(a.segments, b.segments) })
	return m
}

// templateSegments splits a PathKey; parameters become "".
func templateSegments(key string) []string {
	segments := strings.Split(strings.TrimPrefix(key, "/"), "/")
	for i, s := range segments {
		if s == "{}" {
			segments[i] = ""
		}
	}
	return segments
}

// moreSpecific orders templates: where two differ first, the literal segment comes before the parameter.
func moreSpecific(a, b []string) int {
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	for i := range a {
		if (a[i] == "") != (b[i] == "") {
			if a[i] != "" {
				return -1
			}
			return 1
		}
	}
	return 0
}

// Find returns the endpoint that a call buys: of the paths that match and are sold for the method, the most specific one;
// else the AnyPath endpoint. An endpoint for the very method comes before one for any method, and HEAD is served by GET's
// endpoint where it has none of its own.
func (m *Matcher) Find(method string, p Path) (*Endpoint, bool) {
	if e := pick(m.exact[p.key], method); e != nil {
		return e, true
	}
	for i := range m.patterns {
		if !m.patterns[i].matches(p.key) {
			continue
		}
		if e := pick(m.patterns[i].sold, method); e != nil {
			return e, true
		}
	}
	return m.Any(method)
}

// Any returns the AnyPath endpoint for a method.
func (m *Matcher) Any(method string) (*Endpoint, bool) {
	e := pick(m.catchAll, method)
	return e, e != nil
}

func (p *pattern) matches(key string) bool {
	rest, ok := strings.CutPrefix(key, "/")
	for i, want := range p.segments {
		if !ok {
			return false
		}
		var segment string
		segment, rest, ok = strings.Cut(rest, "/")
		if want != "" && want != segment || ok != (i < len(p.segments)-1) {
			return false
		}
	}
	return true
}

func pick(endpoints []Endpoint, method string) *Endpoint {
	var any, get *Endpoint
	for i := range endpoints {
		switch endpoints[i].Method {
		case method:
			return &endpoints[i]
		case AnyMethod:
			any = &endpoints[i]
		case "GET":
			get = &endpoints[i]
		}
	}
	if method == "HEAD" && get != nil {
		return get
	}
	if !Sold(method) {
		return nil
	}
	return any
}

// Sold reports whether calls with a method can be sold at all: CONNECT would open a tunnel to anywhere, and TRACE would show
// what was added to a request on its way (RFC 9110 9.3.6, 9.3.8). Upstreams may fold the case, so it does not matter.
func Sold(method string) bool {
	return !strings.EqualFold(method, "CONNECT") && !strings.EqualFold(method, "TRACE")
}
