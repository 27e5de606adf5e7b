// Package api is the REST face of the marketplace. What it serves is written in openapi.yaml: edge holds requests to it before
// they reach a use case, and everything that refuses one answers with the same error body.
package api

import (
	"fmt"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"

	backend "github.com/CalloraOrg/callora-backend"
	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/access"
	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/app/catalog"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/app/metering"
)

// Config is how the API behaves.
type Config struct {
	edge.Config
	Version string // shown by the health check
}

// UseCases is what the API can do, by activity.
type UseCases struct {
	Health   health.CheckHealth
	Catalog  Catalog
	Access   Access
	Billing  Billing
	Metering Metering
}

// Catalog is the marketplace's part.
type Catalog struct {
	List    catalog.ListAPIs
	Get     catalog.GetAPI
	Publish catalog.PublishAPI
}

// Access is the keys' part.
type Access struct {
	Issue  access.IssueKey
	List   access.ListKeys
	Rotate access.RotateKey
	Revoke access.RevokeKey
}

// Billing is the vaults' part.
type Billing struct{ GetBalance billing.GetBalance }

// Metering is the usage's part.
type Metering struct{ GetUsage metering.GetUsage }

// Deps is what the API works with.
type Deps struct {
	edge.Deps
	Metrics http.Handler // serves GET /api/metrics; nil: it is empty
}

// New returns the handler of everything under /api that the spec names.
func New(cfg Config, uses UseCases, deps Deps) (http.Handler, error) {
	spec, err := openapi3.NewLoader().LoadFromData(backend.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	e := edge.New(spec, cfg.Config, deps.Deps)
	invalid := func(w http.ResponseWriter, r *http.Request, err error) { edge.WriteError(w, r, edge.Invalid(err)) }
	gen.HandlerWithOptions(gen.NewStrictHandlerWithOptions(&operations{uses, cfg.Version}, nil, gen.StrictHTTPServerOptions{
		RequestErrorHandlerFunc: invalid, ResponseErrorHandlerFunc: edge.WriteError,
	}), gen.StdHTTPServerOptions{BaseRouter: e, ErrorHandlerFunc: invalid})
	if err := mountDocuments(e, spec, deps.Metrics); err != nil {
		return nil, err
	}
	if err := e.Complete(); err != nil {
		return nil, err
	}
	return e, nil
}

// operations implements the generated interface: every method reads its request, does one thing and shows the result.
type operations struct {
	uses    UseCases
	version string
}

var _ gen.StrictServerInterface = (*operations)(nil)
