package edge

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
)

const smallSpec = `
openapi: 3.0.3
info: { title: small, version: 1.0.0 }
paths:
  /open: { get: { security: [], responses: { '200': { description: fine } } } }
  /silent: { get: { responses: { '200': { description: fine } } } }
`

func TestTheSpecAndWhatIsServedAreTheSame(t *testing.T) {
	t.Parallel()
	spec, err := openapi3.NewLoader().LoadFromData([]byte(smallSpec))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(patterns ...string) error {
		e := New(spec, Config{}, Deps{})
		for _, p := range patterns {
			e.HandleFunc(p, func(http.ResponseWriter, *http.Request) {})
		}
		return e.Complete()
	}
	if serve("GET /open") == nil {
		t.Error("an operation that is not served goes unnoticed")
	}
	if serve("GET /open", "POST /open") == nil || serve("GET /open", "GET /other") == nil {
		t.Error("an operation that the spec does not have goes unnoticed")
	}
	if serve("GET /open", "GET /silent") == nil {
		t.Error("an operation that does not say who may use it is open to all")
	}
	spec.Paths.Delete("/silent")
	if err := serve("GET /open"); err != nil {
		t.Error(err)
	}
}

func TestALayerOnItsOwnStillAnswers(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), errNotFound)
	var body httpkit.Envelope
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 404 || body.RequestID != "unknown" || !Actor(context.Background()).IsZero() {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTheConnectionCanBeReachedThroughTheStatusWriter(t *testing.T) {
	t.Parallel()
	inner := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	if err := http.NewResponseController(&statusWriter{ResponseWriter: inner}).SetWriteDeadline(time.Unix(5, 0)); err != nil || inner.set != time.Unix(5, 0) {
		t.Errorf("%v, %v", inner.set, err)
	}
}

type deadlines struct {
	*httptest.ResponseRecorder
	set time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.set = t; return nil }
