package apikey

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// AllScopes is the scope that opens every endpoint, and the default.
const AllScopes = "*"

// ScopeHelp says what a scope may be, for error messages.
const ScopeHelp = `"*", "read" (GET, HEAD, OPTIONS), "write" (all other methods), or METHOD:PATH such as "GET:/forecast", ` +
	`where METHOD may be * and PATH is an endpoint's path or *`

// ValidScope reports whether s is a scope, see ScopeHelp.
func ValidScope(s string) bool {
	switch s {
	case AllScopes, "read", "write":
		return true
	}
	method, path, ok := strings.Cut(s, ":")
	if !ok || len(s) > 512 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return false
	}
	return (method == "*" || methods[method]) && (path == "*" || strings.HasPrefix(path, "/"))
}

// Allows reports whether the key's scopes open an endpoint, named by its method of call and its path template.
func (k *Key) Allows(method, path string) bool {
	for _, s := range k.Scopes {
		if scopeAllows(s, method, path) {
			return true
		}
	}
	return false
}

func scopeAllows(scope, method, path string) bool {
	switch scope {
	case AllScopes:
		return true
	case "read":
		return safe(method)
	case "write":
		return !safe(method)
	}
	m, p, ok := strings.Cut(scope, ":")
	return ok && (m == "*" || m == method || (m == "GET" && method == "HEAD")) && (p == "*" || p == path)
}

// Covers reports whether a scope opens anything of an endpoint as it is sold, by its method ("*": any) and path template. "*",
// "read" and "write" name no endpoint, and cover whatever there is.
func Covers(scope, method, path string) bool {
	m, p, one := strings.Cut(scope, ":")
	if !one {
		return true
	}
	sameMethod := m == "*" || method == "*" || m == method || m == "HEAD" && method == "GET" || m == "GET" && method == "HEAD"
	return sameMethod && (p == "*" || p == path)
}

func safe(method string) bool { return method == "GET" || method == "HEAD" || method == "OPTIONS" }

var methods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true,
}
