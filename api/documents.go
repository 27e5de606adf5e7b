package api

import (
	"fmt"
	"net/http"

	backend "github.com/CalloraOrg/callora-backend"
)

// mountDocuments serves the operations whose answers are not JSON objects of ours.
func (s *server) mountDocuments(m *router, metrics http.Handler) error {
	asJSON, err := m.spec.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write the spec as JSON: %w", err)
	}
	if metrics == nil {
		metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		})
	}
	if s.cfg.Production {
		metrics = keyed(s.cfg.MetricsKey, metrics)
	}
	m.HandleFunc("GET /api/metrics", metrics.ServeHTTP)
	m.HandleFunc("GET /api/openapi.yaml", document("application/yaml", backend.OpenAPI))
	m.HandleFunc("GET /api/openapi.json", document("application/json", asJSON))
	return nil
}

func document(contentType string, text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(text) // a caller who has left needs no answer
	}
}
