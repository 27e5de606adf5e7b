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

// userOfToken is bearerAuth: an access token of ours.
func (e *Edge) userOfToken(r *http.Request) (id.ID, error) {
	token, err := bearer(r.Header)
	if err != nil {
		return id.ID{}, err
	}
	return e.tokens.user(token, e.deps.Now())
}

// userOfHeader is userId: a user taken at their word, for development.
func (e *Edge) userOfHeader(r *http.Request) (id.ID, error) {
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
	lines := h["Authorization"]
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "" {
		return "", errUnauthorized
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	if len(lines) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", errAuthHeader
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", errNoToken
	}
	return token, nil
}

// holderOf is a scheme whose proof is one key of the deployment. Without a key nobody holds it.
func holderOf(key string) func(r *http.Request) (id.ID, error) {
	want := sha256.Sum256([]byte(key)) // hashed, so that not even the length shows in the time of the comparison
	return func(r *http.Request) (id.ID, error) {
		token, err := bearer(r.Header)
		got := sha256.Sum256([]byte(token))
		if err != nil || key == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			return id.ID{}, errUnauthorized
		}
		return id.ID{}, nil
	}
}
