package gateway

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// checkUpgrade admits a request for a WebSocket with its whole handshake (RFC 6455 4.2.1). Any other protocol is ignored, as a
// server may (RFC 9110 7.8): the call is forwarded without its Upgrade, because behind h2c, say, an upstream would serve any path any
// number of times for the price of one call.
func (c *call) checkUpgrade() error {
	h := c.r.Header
	if !hasToken(h["Upgrade"], "websocket") {
		delete(h, "Upgrade")
		return nil
	}
	if _, has := h[headerIdempotency]; has {
		return errIdempotencyUpgrade
	}
	wrong := func(field, want string) error {
		return inField(fault.New(fault.Invalid, "WEBSOCKET_HANDSHAKE", "Bad Request: the WebSocket handshake is not complete (RFC 6455 4.2.1)"), field, want)
	}
	key := only(h["Sec-Websocket-Key"])
	nonce, err := base64.StdEncoding.DecodeString(key)
	switch {
	case c.r.Method != http.MethodGet:
		return wrong("method", "must be GET")
	case !c.r.ProtoAtLeast(1, 1):
		return wrong("version", "must be HTTP/1.1")
	case c.hasBody():
		return wrong("body", "must be empty")
	case !strings.EqualFold(only(h["Upgrade"]), "websocket"):
		return wrong("header.Upgrade", "must be websocket, and nothing else")
	case !hasToken(h["Connection"], "upgrade"):
		return wrong("header.Connection", "must name Upgrade")
	case only(h["Sec-Websocket-Version"]) != "13":
		c.w.Header()["Sec-WebSocket-Version"] = []string{"13"} // RFC 6455 4.4
		return wrong("header.Sec-WebSocket-Version", "must be 13")
	case err != nil || len(nonce) != 16:
		return wrong("header.Sec-WebSocket-Key", "must be 16 bytes in base64")
	}
	c.websocket = key
	return nil
}

// acceptsWebSocket reports whether an upstream's 101 answers the handshake of the call (RFC 6455 4.2.2).
func (c *call) acceptsWebSocket(h http.Header) bool {
	if c.websocket == "" {
		return false
	}
	sum := sha1.Sum([]byte(c.websocket + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return only(h["Sec-Websocket-Accept"]) == base64.StdEncoding.EncodeToString(sum[:]) &&
		strings.EqualFold(only(h["Upgrade"]), "websocket") && hasToken(h["Connection"], "upgrade")
}

// only is the value of a header field that has exactly one, else "".
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return strings.TrimSpace(values[0])
}

// hasToken reports whether a list field names a token.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
