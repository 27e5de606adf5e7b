package edge

import (
	"net/http"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// security are the headers of every answer. The API serves no pages, so that browsers may do next to nothing with it.
var security = map[string]string{
	"Content-Security-Policy": "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; frame-src 'none'; " +
		"img-src 'self' data: https:; object-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'",
	"Cross-Origin-Opener-Policy":        "same-origin",
	"Cross-Origin-Resource-Policy":      "same-origin",
	"Origin-Agent-Cluster":              "?1",
	"Referrer-Policy":                   "strict-origin-when-cross-origin",
	"X-Content-Type-Options":            "nosniff",
	"X-Dns-Prefetch-Control":            "off",
	"X-Download-Options":                "noopen",
	"X-Frame-Options":                   "DENY",
	"X-Permitted-Cross-Domain-Policies": "none",
	"X-Xss-Protection":                  "0",
}

// inProduction are those that would get in the way of a plain http://localhost.
var inProduction = map[string]string{
	"Strict-Transport-Security":    "max-age=31536000; includeSubDomains; preload",
	"Cross-Origin-Embedder-Policy": "require-corp",
}

func secured(production bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range security {
			h.Set(name, value)
		}
		if production {
			for name, value := range inProduction {
				h.Set(name, value)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// CORS lets pages of some origins call a handler, the gateway's included. Others are served too, but their browsers do not
// let them read the answer.
type CORS struct {
	Origins     []string
	Development bool // any port of http://localhost is an origin too
	Production  bool // browsers ask again after ten minutes instead of a day
}

// Wrap answers preflight requests and marks the answers of next.
func (c CORS) Wrap(next http.Handler) http.Handler {
	maxAge := 86400
	if c.Production {
		maxAge = 600
	}
	origins := map[string]bool{}
	for _, o := range c.Origins {
		origins[strings.TrimSuffix(strings.ToLower(strings.TrimSpace(o)), "/")] = true
	}
	return plainPreflights(cors.New(cors.Options{
		AllowOriginFunc: func(origin string) bool {
			origin = strings.ToLower(origin)
			return origins[origin] || (c.Development && isLocalhost(origin))
		},
		AllowCredentials: true,
		AllowedMethods: []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
		},
		AllowedHeaders: []string{
			"Content-Type", "Authorization", "X-Api-Key", "Idempotency-Key", "X-Admin-Api-Key", "X-User-Id", "X-Request-Id",
		},
		ExposedHeaders: []string{
			"X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "Idempotent-Replayed",
			"X-Callora-Charge", "ETag",
		},
		MaxAge: maxAge,
	}).Handler(next))
}

// plainPreflights writes the header names of a preflight request as browsers do: in lower case, sorted, without spaces. The
// library reads no other form, but clients that are no browsers send others.
func plainPreflights(next http.Handler) http.Handler {
	const asked = "Access-Control-Request-Headers"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines := r.Header[asked]; r.Method == http.MethodOptions && len(lines) > 0 {
			names := strings.FieldsFunc(strings.ToLower(strings.Join(lines, ",")), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
			slices.Sort(names)
			r = r.Clone(r.Context())
			r.Header[asked] = []string{strings.Join(names, ",")}
		}
		next.ServeHTTP(w, r)
	})
}

func isLocalhost(origin string) bool {
	rest, ok := strings.CutPrefix(origin, "http://localhost")
	if !ok {
		return false
	}
	port, ok := strings.CutPrefix(rest, ":")
	return rest == "" || (ok && port != "" && strings.Trim(port, "0123456789") == "")
}
