package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// Faults of the REST face itself.
var (
	errNotFound    = fault.New(fault.NotFound, "NOT_FOUND", "Not Found")
	errMethod      = fault.New(fault.WrongMethod, "METHOD_NOT_ALLOWED", "Method Not Allowed")
	errMedia       = fault.New(fault.WrongMedia, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json")
	errTooLarge    = fault.New(fault.TooLarge, "REQUEST_BODY_TOO_LARGE", "Request body too large")
	errTooMany     = fault.New(fault.TooMany, "TOO_MANY_REQUESTS", "Too Many Requests")
	errInternal    = fault.New(fault.Internal, "INTERNAL_SERVER_ERROR", "Internal server error")
	errUnavailable = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: please try again in a moment")
)

type envelope struct {
	Code      string   `json:"code"`
	Message   string   `json:"message"`
	RequestID string   `json:"requestId"`
	Details   []detail `json:"details,omitempty"`
}

type detail struct {
	Field   string `json:"field"`
	Message string `json:"message"`
	Code    string `json:"code"`
}

// asFault turns an error into what the caller may know of it.
func asFault(err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		if f.Kind == fault.Internal {
			return errInternal.Because(err)
		}
		return f.Because(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errUnavailable.Because(err)
	}
	return errInternal.Because(err)
}

// writeError answers with the one error body that all of the API has. Every way out that is not a success ends here: the
// router, authentication, limits, the validator, the decoder, use cases and panics.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	f := asFault(err)
	x := exchangeOf(r.Context())
	x.fault = f
	body := envelope{Code: f.Code, Message: f.Message, RequestID: x.requestID}
	for _, d := range f.Details {
		body.Details = append(body.Details, detail(d))
	}
	text, err := json.Marshal(body)
	if err != nil { // strings cannot fail to marshal
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	h.Set("Cache-Control", "no-store")
	if f.Kind == fault.Unauthenticated {
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(fault.HTTPStatus(f.Kind))
	_, _ = w.Write(append(text, '\n')) // a caller who has left needs no answer
}
