package gateway

import (
	"encoding/base64"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

// cleanRequest removes from a request's header what is meant for us and not for the upstream, what tells of the way here
// (anybody can write that), and what would make the upstream take the call for another than the one that is priced. An Authorization
// header beside an X-Api-Key is the upstream's own, unless it holds one of our keys. Of other fields the values go that hold the call's key.
func cleanRequest(out http.Header, key string) {
	if authorization := out["Authorization"]; authorization != nil {
		ours := strings.TrimSpace(out.Get(headerKey)) == ""
		for _, v := range authorization {
			ours = ours || holdsKey(v)
		}
		if ours {
			delete(out, "Authorization")
		}
	}
	for name, values := range out {
		if private(name) {
			delete(out, name)
			continue
		}
		dropKey(out, name, values, key)
	}
}

// cleanTrailer removes from a request's trailer what its header may not say either, and what no trailer may (RFC 9110 6.5.1).
func cleanTrailer(t http.Header, key string) {
	for name, values := range t {
		if private(name) || controls(normal(name)) {
			delete(t, name)
			continue
		}
		dropKey(t, name, values, key)
	}
}

// cleanAnswerTrailer removes from an answer's trailer, or from an interim answer, what only we may say.
func cleanAnswerTrailer(t http.Header) {
	for name := range t {
		if n := normal(name); ours(n) || strings.HasPrefix(n, "X-Ratelimit-") || controls(n) {
			delete(t, name)
		}
	}
}

func dropKey(h http.Header, name string, values []string, key string) {
	for i, v := range values {
		if !holds(v, key) {
			continue
		}
		kept := append([]string(nil), values[:i]...)
		for _, v := range values[i+1:] {
			if !holds(v, key) {
				kept = append(kept, v)
			}
		}
		if h[name] = kept; len(kept) == 0 {
			delete(h, name)
		}
		return
	}
}

// holds reports whether a text has the key in it, also percent-encoded.
func holds(text, key string) bool {
	if len(text) < len(key) || key == "" {
		return false
	}
	return strings.Contains(text, key) || strings.IndexByte(text, '%') >= 0 && strings.Contains(unescape(text), key)
}

// unescape decodes what is percent-encoded in a text and leaves the rest as it is.
func unescape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		if text[0] == '%' && len(text) >= 3 {
			if plain, err := url.PathUnescape(text[:3]); err == nil {
				b.WriteString(plain)
				text = text[3:]
				continue
			}
		}
		b.WriteByte(text[0])
		text = text[1:]
	}
	return b.String()
}

// holdsKey reports whether an Authorization header has a key of ours in it, as a token or in Basic credentials.
func holdsKey(authorization string) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	if strings.EqualFold(scheme, "Basic") {
		plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
		return err == nil && strings.Contains(string(plain), apikey.Mark)
	}
	return strings.Contains(authorization, apikey.Mark)
}

// keyInURL reports whether the call's key stands in its URL, which upstreams log and pass on.
func (c *call) keyInURL() bool {
	return holds(c.r.URL.RawQuery, c.secret) || holds(sentPath(c.r.URL), c.secret)
}

// plainName are the bytes of names that CGI, and servers that think like it, take for nothing else.
var plainName = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-'
	}
	return plain
}()

// normal is a field's name as an upstream may read it: many take _ and other bytes for -. It costs only where there are such.
func normal(name string) string {
	for i := range len(name) {
		if !plainName[name[i]] {
			return textproto.CanonicalMIMEHeaderKey(strings.Map(func(r rune) rune {
				if r > 255 || !plainName[r] {
					return '-'
				}
				return r
			}, name))
		}
	}
	return name
}

// private reports whether a request's field is not for the upstream.
func private(name string) bool {
	n := normal(name)
	switch n {
	case headerKey, headerID, "X-User-Id", "X-Admin-Api-Key",
		"Forwarded", "Forwarded-For", "X-Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6",
		"True-Client-Ip", "X-Aws-Client-Ip", "Client-Ip", "X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "Remote-Addr", "Fastly-Client-Ip",
		"X-Envoy-External-Address", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip",
		"X-Remote-User", "Remote-User",
		"Http2-Settings", "Proxy",
		"X-Rewrite-Url", "X-Host", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override":
		return true
	}
	return strings.HasPrefix(n, "X-Callora-") || strings.HasPrefix(n, "X-Forwarded-") || strings.HasPrefix(n, "X-Original-") ||
		n != name && controls(n)
}

// ours reports whether only we may say a field of an answer. name is normal.
func ours(name string) bool {
	return name == headerID || name == headerReplayed || strings.HasPrefix(name, "X-Callora-") || forOrigin(name)
}

// controls reports whether a field says how a message is framed, routed, authenticated or to be processed, which a trailer
// may not (RFC 9110 6.5.1), and a twin of that name may not either. name is normal.
func controls(name string) bool {
	switch name {
	case "Transfer-Encoding", "Content-Length", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Upgrade", "Host", "Expect", "Max-Forwards", "Range", "Authorization", "Www-Authenticate", "Cookie", "Set-Cookie",
		"Cache-Control", "Pragma", "Age", "Date", "Expires", "Location", "Retry-After", "Vary", "Warning",
		"Content-Encoding", "Content-Type", "Content-Range":
		return true
	}
	return strings.HasPrefix(name, "If-")
}
