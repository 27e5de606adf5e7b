package edge

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

var (
	errAuthHeader   = fault.New(fault.Unauthenticated, "INVALID_AUTH_HEADER", "Invalid authorization header")
	errNoToken      = fault.New(fault.Unauthenticated, "MISSING_TOKEN", "Missing token")
	errUnauthorized = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized")
)

// userOf finds out who is asking. X-User-Id is believed from where the configuration says, and only when nothing better is sent.
func (e *Edge) userOf(r *http.Request) (id.ID, error) {
	if token, err := bearer(r.Header); err != errUnauthorized {
		if err != nil {
			return id.ID{}, err
		}
		return e.tokens.user(token, e.deps.Now())
	}
	if user, err := id.Parse(r.Header.Get("X-User-Id")); err == nil && !user.IsZero() && e.believesUserID(r) {
		return user, nil
	}
	return id.ID{}, errUnauthorized
}

// believesUserID reports whether r comes straight from an address that may name its user. What came through a proxy came
// from anybody, whatever the proxy's address is.
func (e *Edge) believesUserID(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if _, proxied := r.Header[name]; proxied {
			return false
		}
	}
	peer, ok := httpkit.Proxies{}.Client(r)
	return ok && !e.cfg.Production && slices.ContainsFunc(e.cfg.UserHeaderFrom, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// bearer reads the Authorization header. Without one it is errUnauthorized.
func bearer(h http.Header) (token string, err error) {
	auth := h.Get("Authorization")
	if auth == "" {
		return "", errUnauthorized
	}
	scheme, token, _ := strings.Cut(auth, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errAuthHeader
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", errNoToken
	}
	return token, nil
}

// Keyed lets requests pass that carry a key as a Bearer token.
func Keyed(key string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(key)) // hashed, so that not even the length shows in the time of the comparison
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := bearer(r.Header)
		got := sha256.Sum256([]byte(token))
		if err != nil || key == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			WriteError(w, r, errUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
