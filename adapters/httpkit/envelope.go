package httpkit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// Faults that any face may end with.
var (
	ErrInternal    = fault.New(fault.Internal, "INTERNAL_SERVER_ERROR", "Internal server error")
	ErrUnavailable = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: please try again in a moment")
	ErrTooSlow     = fault.New(fault.TooSlow, "REQUEST_TIMEOUT", "Request Timeout: the body did not arrive in time")
)

// Envelope is the body of every answer that is not a success.
type Envelope struct {
	Code      string   `json:"code"`
	Message   string   `json:"message"`
	RequestID string   `json:"requestId"`
	Details   []Detail `json:"details,omitempty"`
}

// Detail names one wrong field and what is accepted there.
type Detail struct {
	Field   string `json:"field"`
	Message string `json:"message"`
	Code    string `json:"code"`
}

// Fault is what a caller may know of err: the fault in its chain, with the chain as its cause. What is no fault, or an internal
// one, is ErrInternal; work that ran out of time is ErrUnavailable.
func Fault(err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		if f.Kind == fault.Internal {
			return ErrInternal.Because(err)
		}
		if err == error(f) {
			return f
		}
		return f.Because(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return ErrUnavailable.Because(err)
	}
	return ErrInternal.Because(err)
}

// WriteError answers with the envelope of f, which is one that Fault has returned.
func WriteError(w http.ResponseWriter, f *fault.Error, requestID string) {
	text := envelopeText(f, requestID)
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	if f.Kind == fault.Unauthenticated {
		h.Set("WWW-Authenticate", "Bearer") // RFC 9110 11.6.1
	}
	if f.Kind == fault.TooSlow {
		h.Set("Connection", "close") // RFC 9110 15.5.9: what may still come is no request
	}
	w.WriteHeader(fault.HTTPStatus(f.Kind))
	_, _ = w.Write(text) // a caller who has left needs no answer, and HEAD has no body
}

func envelopeText(f *fault.Error, requestID string) []byte {
	body := Envelope{Code: f.Code, Message: f.Message, RequestID: requestID}
	for _, d := range f.Details {
		body.Details = append(body.Details, Detail(d))
	}
	text, err := json.Marshal(body)
	if err != nil { // strings cannot fail to marshal
		panic(err)
	}
	return append(text, '\n')
}
