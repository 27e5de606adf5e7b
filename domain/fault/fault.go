// Package fault is the vocabulary of refusals: what went wrong, as a stable code, in words that are safe for a caller.
package fault

import (
	"errors"
	"fmt"
)

// Kind is the class of a fault. Each edge maps a kind once (HTTP: api and the gateway).
type Kind int

// The kinds, append-only.
const (
	Internal        Kind = iota // ours; the message is never shown
	Invalid                     // the request is wrong and says where
	Unauthenticated             // nobody we know
	Forbidden                   // somebody we know, who may not
	NotFound                    //
	Conflict                    // true of the request, not of the state it meets
	PaymentRequired             // money is short
	TooMany                     // rate or quota
	TooLarge                    // body over its limit
	BadUpstream                 // the upstream failed or may not be called
	UpstreamTimeout             // the upstream was too slow
	Unavailable                 // a part we need is down; trying again later is right
	WrongMethod                 // the path has no such method
	WrongMedia                  // the body is in a form we do not read
	TooSlow                     // the request did not arrive in time
)

// Error is a refusal. Message is for the caller; the wrapped cause is for the log only.
type Error struct {
	Kind    Kind
	Code    string // stable, UPPER_SNAKE, listed in openapi.yaml
	Message string
	Details []Detail
	Cause   error
}

// Detail names one wrong field, e.g. body.endpoints[0].path.
type Detail struct {
	Field   string
	Message string
	Code    string
}

// New returns a fault of a kind with its code and the words for the caller.
func New(kind Kind, code, message string) *Error {
	return &Error{Kind: kind, Code: code, Message: message}
}

// InvalidFields returns the fault that lists wrong fields (HTTP 400, VALIDATION_ERROR).
func InvalidFields(details ...Detail) *Error {
	return &Error{Kind: Invalid, Code: "VALIDATION_ERROR", Message: "Request validation failed", Details: details}
}

// Because returns a copy of e that carries a cause for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// Error gives code, message and cause, for operators.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Cause)
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is match by code, so that a copy with a cause still is its sentinel.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Kind == e.Kind && t.Message == e.Message
}

// KindOf returns the kind of the first fault in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Kind
	}
	return Internal
}
