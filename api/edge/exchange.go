package edge

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// exchange is what the layers of one request tell each other. It never leaves this package.
type exchange struct {
	requestID string
	client    netip.Addr // invalid when the connection has none
	actor     id.ID
	route     string       // the template of the spec's path, unknownRoute outside of it
	fault     *fault.Error // what was answered, if it was a refusal
	bodyRead  bool         // the request's body was read to its end
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	if x == nil {
		return &exchange{requestID: "unknown", route: unknownRoute} // only a test of a single layer gets here
	}
	return x
}

const maxRequestID = 128

// requestIDOf keeps the caller's X-Request-Id when it is short and printable, and makes one when it is not.
func requestIDOf(h http.Header, newID ports.NewID) string {
	given := strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, h.Get("X-Request-Id")))
	if given == "" || len(given) > maxRequestID || strings.ContainsFunc(given, func(r rune) bool { return r > '~' }) {
		return newID().String()
	}
	return given
}
