package api

import (
	"fmt"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"

	backend "github.com/CalloraOrg/callora-backend"
	"github.com/CalloraOrg/callora-backend/api/edge"
)

// mountDocuments serves the operations whose answers are not JSON objects of ours.
func mountDocuments(e *edge.Edge, spec *openapi3.T, metrics http.Handler) error {
	asJSON, err := spec.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write the spec as JSON: %w", err)
	}
	if metrics == nil {
		metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		})
	}
	e.HandleFunc("GET /api/metrics", metrics.ServeHTTP)
	e.HandleFunc("GET /api/openapi.yaml", document("application/yaml", backend.OpenAPI))
	e.HandleFunc("GET /api/openapi.json", document("application/json", asJSON))
	return nil
}

func document(contentType string, text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(text) // a caller who has left needs no answer
	}
}
