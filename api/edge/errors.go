package edge

import (
	"net/http"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// Faults of the REST face itself.
var (
	errNotFound = fault.New(fault.NotFound, "NOT_FOUND", "Not Found")
	errMethod   = fault.New(fault.WrongMethod, "METHOD_NOT_ALLOWED", "Method Not Allowed")
	errMedia    = fault.New(fault.WrongMedia, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json")
	errTooLarge = fault.New(fault.TooLarge, "REQUEST_BODY_TOO_LARGE", "Request body too large")
	errTooMany  = fault.New(fault.TooMany, "TOO_MANY_REQUESTS", "Too Many Requests")

	errBodyEnded = invalidBody("ended too early")
	errNoBody    = invalidBody("must be empty: this operation takes none")
)

func invalidBody(message string) *fault.Error {
	return fault.InvalidFields(fault.Detail{Field: "body", Message: message, Code: "INVALID_BODY"})
}

// WriteError answers with the one error body that all of the API has. Every way out that is not a success ends here: the
// router, authentication, limits, the validator, the decoder, use cases and panics.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.fault = httpkit.Fault(err)
	httpkit.WriteError(w, x.fault, x.requestID)
}
