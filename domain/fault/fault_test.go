package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestAFaultKeepsItsIdentityThroughWrapping(t *testing.T) {
	t.Parallel()
	sentinel := New(NotFound, "GONE", "it is gone")
	cause := errors.New("row missing")
	err := fmt.Errorf("look up: %w", sentinel.Because(cause))
	if !errors.Is(err, sentinel) || !errors.Is(err, cause) || KindOf(err) != NotFound {
		t.Errorf("%v is not the fault it was made of", err)
	}
	if errors.Is(err, New(NotFound, "OTHER", "it is gone")) || errors.Is(sentinel, cause) {
		t.Error("different faults match")
	}
	if sentinel.Cause != nil {
		t.Error("Because changed the sentinel")
	}
	if text := err.Error(); !strings.Contains(text, "GONE") || !strings.Contains(text, "row missing") {
		t.Errorf("an operator reads %q", text)
	}
	if KindOf(cause) != Internal {
		t.Error("an unknown error is not internal")
	}
}

func TestInvalidFieldsListsThem(t *testing.T) {
	t.Parallel()
	err := InvalidFields(Detail{Field: "body.name", Message: "is required", Code: "REQUIRED"})
	if err.Kind != Invalid || err.Code != "VALIDATION_ERROR" || len(err.Details) != 1 || err.Error() != "VALIDATION_ERROR: Request validation failed" {
		t.Errorf("%+v", err)
	}
}
