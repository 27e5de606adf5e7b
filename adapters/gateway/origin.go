package gateway

import (
	"net/http"
	"strings"
)

// All upstreams answer under one origin, ours. A browser takes some fields of any answer as said for the whole of it, or for its host,
// and so would let one seller speak for us and for all others (docs/decisions/0032).

// forOrigin reports whether a field of an answer is said for its origin or host and not for the answer. name is normal.
func forOrigin(name string) bool {
	switch name {
	case "Alt-Svc", // where else the origin is served (RFC 7838 3)
		"Strict-Transport-Security",                                   // RFC 6797 6.1
		"Public-Key-Pins", "Public-Key-Pins-Report-Only", "Expect-Ct", // RFC 7469, RFC 9163
		"Clear-Site-Data",  // everybody's cookies and storage (W3C Clear Site Data)
		"Nel", "Report-To", // where failures of any page are reported (W3C NEL)
		"Accept-Ch", "Critical-Ch", // what browsers tell of themselves from now on (RFC 8942)
		"Origin-Agent-Cluster", "Service-Worker-Allowed", "Set-Login":
		return true
	}
	return false
}

// confineCookies lets an answer's cookies be for its API alone: without a Domain, and with a Path below the API's. One whose name
// says that it is for the whole host (RFC 6265bis 4.1.3.2) cannot be, and goes.
func (c *call) confineCookies(h http.Header) {
	cookies, has := h["Set-Cookie"]
	if !has {
		return
	}
	kept := make([]string, 0, len(cookies))
	for _, cookie := range cookies {
		if text, ok := c.confine(cookie); ok {
			kept = append(kept, text)
		}
	}
	if h["Set-Cookie"] = kept; len(kept) == 0 {
		delete(h, "Set-Cookie")
	}
}

func (c *call) confine(cookie string) (confined string, ok bool) {
	pair, attributes, _ := strings.Cut(cookie, ";")
	const wholeHost = "__host-"
	if name := strings.TrimSpace(pair); len(name) >= len(wholeHost) && strings.EqualFold(name[:len(wholeHost)], wholeHost) {
		return "", false
	}
	path, said := c.path.Escaped, ""
	path = path[:max(strings.LastIndexByte(path, '/'), 0)] // the default (RFC 6265 5.1.4)
	confined = pair
	for attribute := range strings.SplitSeq(attributes, ";") {
		name, value, _ := strings.Cut(attribute, "=")
		switch name = strings.TrimSpace(name); {
		case name == "", strings.EqualFold(name, "Domain"):
		case strings.EqualFold(name, "Path"):
			said = strings.TrimSpace(value) // the last one counts
		default:
			confined += ";" + attribute
		}
	}
	if strings.HasPrefix(said, "/") {
		path = said
		if rest, below := strings.CutPrefix(said, c.target.Prefix); below && (rest == "" || rest[0] == '/') {
			path = rest
		}
	}
	return confined + "; Path=" + c.mount() + strings.TrimSuffix(path, "/"), true
}

// mount is the path under which the caller calls the API.
func (c *call) mount() string {
	prefix := CallPrefix
	if c.legacy {
		prefix = LegacyPrefix
	}
	ref := strings.TrimPrefix(sentPath(c.r.URL), prefix)
	if i := strings.IndexByte(ref, '/'); i >= 0 {
		ref = ref[:i]
	}
	return prefix + ref
}
