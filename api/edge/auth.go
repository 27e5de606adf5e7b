package edge

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

var (
	errAuthHeader   = fault.New(fault.Unauthenticated, "INVALID_AUTH_HEADER", "Invalid authorization header")
	errNoToken      = fault.New(fault.Unauthenticated, "MISSING_TOKEN", "Missing token")
	errUnauthorized = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized")
)

// userOf finds out who is asking. X-User-Id is believed outside production only, and only when nothing better is sent.
func (e *Edge) userOf(h http.Header) (id.ID, error) {
	if token, err := bearer(h); err != errUnauthorized {
		if err != nil {
			return id.ID{}, err
		}
		return e.tokens.user(token, e.deps.Now())
	}
	if user, err := id.Parse(h.Get("X-User-Id")); err == nil && !e.cfg.Production && !user.IsZero() {
		return user, nil
	}
	return id.ID{}, errUnauthorized
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
