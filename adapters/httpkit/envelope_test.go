package httpkit

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

func TestAnErrorIsAnsweredWithTheEnvelope(t *testing.T) {
	t.Parallel()
	wrong := fault.InvalidFields(fault.Detail{Field: "body.name", Message: "is required", Code: "REQUIRED"})
	none := fault.New(fault.Unauthenticated, "UNAUTHORIZED", "Unauthorized")
	secret := errors.New("the password is swordfish")
	for _, tt := range []struct {
		err       error
		status    int
		text      string
		challenge string
	}{
		{wrong, 400, `{"code":"VALIDATION_ERROR","message":"Request validation failed","requestId":"r1","details":[{"field":"body.name","message":"is required","code":"REQUIRED"}]}`, ""},
		{fmt.Errorf("somewhere: %w", none.Because(secret)), 401, `{"code":"UNAUTHORIZED","message":"Unauthorized","requestId":"r1"}`, "Bearer"},
		{secret, 500, `{"code":"INTERNAL_SERVER_ERROR","message":"Internal server error","requestId":"r1"}`, ""},
		{fault.New(fault.Internal, "ODD", "the password is swordfish"), 500, `{"code":"INTERNAL_SERVER_ERROR","message":"Internal server error","requestId":"r1"}`, ""},
		{context.DeadlineExceeded, 503, `{"code":"SERVICE_UNAVAILABLE","message":"Service Unavailable: please try again in a moment","requestId":"r1"}`, ""},
	} {
		w := httptest.NewRecorder()
		WriteError(w, Fault(tt.err), "r1")
		if w.Code != tt.status || w.Body.String() != tt.text+"\n" || w.Header().Get("Www-Authenticate") != tt.challenge ||
			w.Header().Get("Content-Type") != "application/json; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %d %v %s", tt.err, w.Code, w.Header(), w.Body)
		}
	}
}

func TestTheCauseOfAFaultIsForTheLog(t *testing.T) {
	t.Parallel()
	plain := fault.New(fault.NotFound, "NOT_FOUND", "Not Found")
	if f := Fault(plain); f.Cause != nil {
		t.Errorf("a plain fault has the cause %v", f.Cause)
	}
	wrapped := fmt.Errorf("read: %w", plain)
	if f := Fault(wrapped); f.Cause != wrapped || f.Code != "NOT_FOUND" {
		t.Errorf("%+v", f)
	}
}

func TestLabelsAreFew(t *testing.T) {
	t.Parallel()
	if MethodLabel("GET") != "GET" || MethodLabel("get") != "OTHER" || MethodLabel("BREW") != "OTHER" {
		t.Error("methods")
	}
	for give, want := range map[int]int{99: 0, 100: 100, 200: 200, 599: 599, 600: 0, 999: 0, -1: 0} {
		if got := StatusLabel(give); got != want {
			t.Errorf("%d: %d", give, got)
		}
	}
}
