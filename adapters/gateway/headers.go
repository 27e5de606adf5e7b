package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

const (
	headerKey         = "X-Api-Key"
	headerID          = "X-Request-Id"
	headerCharge      = "X-Callora-Charge"
	headerIdempotency = "Idempotency-Key"
	headerReplayed    = "Idempotent-Replayed"
	zeroCharge        = "0.0000000"
)

// allowedMethods is the Allow of a call with a method that nobody sells.
var allowedMethods = []string{"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}

// credential finds the key a caller presents: X-Api-Key, or a Bearer token.
func credential(h http.Header) (key string, err error) {
	if k := strings.TrimSpace(h.Get(headerKey)); k != "" {
		return k, nil
	}
	auth := h.Get("Authorization")
	if auth == "" {
		return "", errNoKey
	}
	scheme, token, ok := strings.Cut(auth, " ")
	if token = strings.TrimSpace(token); !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errMalformedAuth
	}
	return token, nil
}

// stripCredentials removes what is meant for us and not for the upstream, what tells of the way here (anybody can write
// that), and what would make the upstream take the call for another than the one that is priced. An Authorization header
// beside an X-Api-Key is the upstream's own, unless it holds one of our keys.
func stripCredentials(out http.Header) {
	if strings.TrimSpace(out.Get(headerKey)) == "" || slices.ContainsFunc(out["Authorization"], holdsKey) {
		delete(out, "Authorization")
	}
	for name := range out {
		switch name {
		case headerKey, "X-User-Id", "X-Admin-Api-Key",
			"Forwarded", "Forwarded-For", "X-Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Cf-Connecting-Ip",
			"True-Client-Ip", "X-Aws-Client-Ip",
			"Http2-Settings",
			"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override":
			delete(out, name)
		default:
			if strings.HasPrefix(name, "X-Callora-") || strings.HasPrefix(name, "X-Forwarded-") {
				delete(out, name)
			}
		}
	}
}

func holdsKey(authorization string) bool {
	_, token, _ := strings.Cut(authorization, " ")
	return strings.HasPrefix(strings.TrimSpace(token), apikey.Mark)
}
