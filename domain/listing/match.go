package listing

import (
	"cmp"
	"slices"
	"strings"
)

// Menu is what an API sells, compiled for matching. It is immutable.
type Menu struct {
	exact    map[string][]Endpoint // by PathKey; paths without parameters
	patterns []pattern             // most specific first
	rest     []Endpoint            // AnyPath
}

type pattern struct {
	segments []string // "" for a parameter
	endpoint []Endpoint
}

// NewMenu compiles endpoints.
func NewMenu(endpoints []Endpoint) *Menu {
	m := &Menu{exact: map[string][]Endpoint{}}
	byKey := map[string]int{}
	for _, e := range endpoints {
		key := PathKey(e.Path)
		switch {
		case e.Path == AnyPath:
			m.rest = append(m.rest, e)
		case !strings.Contains(key, "{}"):
			m.exact[key] = append(m.exact[key], e)
		default:
			at, ok := byKey[key]
			if !ok {
				at = len(m.patterns)
				byKey[key] = at
				m.patterns = append(m.patterns, pattern{segments: templateSegments(key)})
			}
			m.patterns[at].endpoint = append(m.patterns[at].endpoint, e)
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

// Find returns the endpoint that a call buys: the most specific path that has the method, then a path that takes any
// method, then the AnyPath endpoint. HEAD is served by GET's endpoint where it has none of its own.
func (m *Menu) Find(method string, p Path) (*Endpoint, bool) {
	if e := pick(m.exact["/"+strings.Join(p.segments, "/")], method); len(p.segments) > 0 && e != nil {
		return e, true
	}
	if len(p.segments) == 0 {
		if e := pick(m.exact[""], method); e != nil {
			return e, true
		}
	}
	for i := range m.patterns {
		if !m.patterns[i].matches(p.segments) {
			continue
		}
		if e := pick(m.patterns[i].endpoint, method); e != nil {
			return e, true
		}
	}
	return m.Any(method)
}

// Any returns the AnyPath endpoint for a method.
func (m *Menu) Any(method string) (*Endpoint, bool) {
	e := pick(m.rest, method)
	return e, e != nil
}

func (p *pattern) matches(segments []string) bool {
	if len(segments) != len(p.segments) {
		return false
	}
	for i, s := range p.segments {
		if s != "" && s != segments[i] {
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
	return any
}
