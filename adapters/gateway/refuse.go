package gateway

import (
	"errors"

	"github.com/CalloraOrg/callora-backend/adapters/gateway/keys"
	"github.com/CalloraOrg/callora-backend/adapters/gateway/routes"
	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// The gateway's refusals. Messages and codes are part of the API.
var (
	errNoKey          = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized: missing API key")
	errMalformedAuth  = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized: malformed Authorization header")
	errWrongKey       = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized: invalid API key")
	errRevokedKey     = fault.New(fault.Forbidden, "FORBIDDEN", "Unauthorized: API key has been revoked")
	errOtherAPI       = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized: API key does not grant access to this API")
	errScope          = fault.New(fault.Forbidden, "INSUFFICIENT_SCOPE", "Forbidden: the API key's scopes do not allow this call")
	errUnknownAPI     = fault.New(fault.NotFound, "NOT_FOUND", "Not Found: unknown API")
	errNoEndpoint     = fault.New(fault.NotFound, "NOT_FOUND", "Not Found: the API has no endpoint for this method and path")
	errTooMany        = fault.New(fault.TooMany, "TOO_MANY_REQUESTS", "Too Many Requests")
	errTooManyUnknown = fault.New(fault.TooMany, "TOO_MANY_REQUESTS", "Too Many Requests: too many calls without a known key from this address")
	errTooLarge       = fault.New(fault.TooLarge, "REQUEST_BODY_TOO_LARGE", "Request body too large")
	errBadBody        = fault.New(fault.Invalid, "MALFORMED_BODY", "Bad Request: the request's body is malformed (RFC 9112 7.1)")
	errSlowUpstream   = fault.New(fault.UpstreamTimeout, "GATEWAY_TIMEOUT", "Upstream service timed out")
	errBadUpstream    = fault.New(fault.BadUpstream, "BAD_GATEWAY", "Bad Gateway: upstream unreachable")
	errBlocked        = fault.New(fault.BadUpstream, "UPSTREAM_TARGET_BLOCKED", "Bad Gateway: the upstream's address is not allowed")
	errStarting       = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: the gateway is starting")

	errLegacyNoKey   = fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized: missing x-api-key header")
	errLegacyRevoked = fault.New(fault.Forbidden, "FORBIDDEN", "Forbidden: API key has been revoked")
	errLegacyPath    = fault.New(fault.NotFound, "NOT_FOUND", "Not Found")
	errLegacyID      = fault.InvalidFields(fault.Detail{
		Field: "params.apiId", Message: "apiId must have between 1 and 50 characters", Code: "INVALID_VALUE",
	})
	errAddress      = fault.New(fault.Forbidden, "IP_NOT_ALLOWED", "Forbidden: IP address not allowed")
	errAddressShape = fault.New(fault.Invalid, "INVALID_IP_FORMAT", "Bad Request: invalid client IP format")

	errIdempotencyKey = fault.InvalidFields(fault.Detail{
		Field: "header.Idempotency-Key", Message: "must be 1 to 255 printable ASCII characters", Code: "INVALID_VALUE",
	})
	errIdempotencyRunning  = fault.New(fault.Conflict, "IDEMPOTENCY_IN_PROGRESS", "Request already in progress")
	errIdempotencyConflict = fault.New(fault.Conflict, "IDEMPOTENCY_CONFLICT", "Idempotency key conflict: payload mismatch")
	errIdempotencySpent    = fault.New(fault.Conflict, "IDEMPOTENCY_SPENT",
		"The call under this Idempotency-Key is charged and its answer was not kept; its one free repeat is used up or too late")
	errReplayBusy = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE",
		"Service Unavailable: too many kept answers are being replayed; try again")
	errIdempotencyUpgrade = inField(fault.New(fault.Invalid, "IDEMPOTENCY_UPGRADE", "Bad Request: Idempotency-Key cannot be used with Upgrade"),
		"header.Idempotency-Key", "must be left out of a request for a WebSocket")

	errKeyInURL = inField(fault.New(fault.Invalid, "API_KEY_IN_URL", "Bad Request: the API key must not be in the URL"),
		"url", "must be without the API key, which goes in X-Api-Key or Authorization alone")
	errMethod = fault.New(fault.WrongMethod, "METHOD_NOT_ALLOWED", "Method Not Allowed: CONNECT and TRACE are not sold")
)

// inField makes a fault name the field that is wrong.
func inField(f *fault.Error, field, message string) *fault.Error {
	f.Details = []fault.Detail{{Field: field, Message: message, Code: "INVALID_VALUE"}}
	return f
}

// reasons name refusals for metrics and logs, by code where the code says enough.
var reasons = map[*fault.Error]string{
	errNoKey: "key_missing", errLegacyNoKey: "key_missing", errMalformedAuth: "key_malformed", errWrongKey: "key_invalid",
	errRevokedKey: "key_revoked", errLegacyRevoked: "key_revoked", errOtherAPI: "key_other_api", errScope: "scope",
	errUnknownAPI: "api_unknown", errNoEndpoint: "endpoint_unknown", errTooMany: "rate_limit", errTooManyUnknown: "address_rate_limit", errTooLarge: "body_too_large", errBadBody: "bad_request", httpkit.ErrTooSlow: "body_too_slow",
	errSlowUpstream: "upstream_timeout", errBadUpstream: "upstream_failed", errBlocked: "upstream_blocked",
	errStarting: "starting", keys.ErrUnavailable: "key_store", routes.ErrUnavailable: "route_store", httpkit.ErrInternal: "internal", errLegacyPath: "endpoint_unknown",
	errLegacyID: "bad_request", errAddress: "address", errAddressShape: "address", errIdempotencyKey: "bad_request",
	errIdempotencyRunning: "idempotency", errIdempotencyConflict: "idempotency", errIdempotencySpent: "idempotency",
	errIdempotencyUpgrade: "bad_request", errReplayBusy: "idempotency", errMethod: "method", errKeyInURL: "bad_request",
}

// reasonOf is a bounded name for why a call was refused.
func reasonOf(f *fault.Error) string {
	switch {
	case f.Code == "WEBSOCKET_HANDSHAKE":
		return "bad_request"
	case errors.Is(f, vault.ErrShort):
		return "balance"
	case f.Code == "VAULT_STOPPED":
		return "vault_stopped"
	case errors.Is(f, usage.ErrNotRecorded):
		return "metering"
	case f.Code == "INVALID_PATH":
		return "path"
	}
	for known, reason := range reasons {
		if errors.Is(f, known) {
			return reason
		}
	}
	return "other"
}

// refuse ends a call with an error envelope, its money and its Idempotency-Key free again: a caller who knows of the
// refusal may retry at once. Nothing of an answer may have been sent.
func (c *call) refuse(err error) {
	c.release()
	f := httpkit.Fault(err)
	c.status, c.refusal, c.cause = fault.HTTPStatus(f.Kind), reasonOf(f), f.Cause
	c.w.Header().Set(headerCharge, zeroCharge)
	c.begin(c.status)
	if c.hasBody() {
		httpkit.AnswerFirst(c.w)
	}
	httpkit.WriteError(&c.out, f, c.requestID)
}
