package gateway

import (
	"net/http"
	"strings"
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
