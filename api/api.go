// Package api is the REST face of the marketplace. What it serves is written in openapi.yaml: requests are checked
// against it before they reach a use case, and everything that refuses one answers with the same error body.
package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"go.uber.org/zap"

	backend "github.com/CalloraOrg/callora-backend"
	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/access"
	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/app/catalog"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/app/metering"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Config is how the API behaves.
type Config struct {
	Production bool   // X-User-Id is ignored, the metrics need their key, browsers are told to use HTTPS
	Version    string // shown by the health check
	JWTSecret  []byte
	MetricsKey string
	BodyLimit  int64         // bytes of a request body; 0: 100 kB
	Timeout    time.Duration // of a request's work; 0: 30 s
	RateLimit  int           // requests of one user per RateWindow; 0: no limit
	RateWindow time.Duration
	Proxies    httpkit.Proxies
	CORS       CORS
}

// UseCases is what the API can do.
type UseCases struct {
	CheckHealth health.CheckHealth
	ListAPIs    catalog.ListAPIs
	GetAPI      catalog.GetAPI
	PublishAPI  catalog.PublishAPI
	IssueKey    access.IssueKey
	ListKeys    access.ListKeys
	RotateKey   access.RotateKey
	RevokeKey   access.RevokeKey
	GetBalance  billing.GetBalance
	GetUsage    metering.GetUsage
}

// Deps is what the API works with. Limiter, Metrics and Observe may be nil.
type Deps struct {
	Log     *zap.Logger
	Now     ports.Clock
	NewID   ports.NewID
	Limiter ports.Limiter
	Metrics http.Handler // serves GET /api/metrics
	// Observe counts an answered request; route is a template of the spec.
	Observe func(method, route, group string, status int, took time.Duration)
}

const (
	defaultBodyLimit = 100 << 10
	defaultTimeout   = 30 * time.Second
)

type server struct {
	cfg     Config
	uses    UseCases
	tokens  Tokens
	log     *zap.Logger
	now     ports.Clock
	newID   ports.NewID
	limiter ports.Limiter
	observe func(method, route, group string, status int, took time.Duration)
}

// New returns the handler of everything under /api that the spec names.
func New(cfg Config, uses UseCases, deps Deps) (http.Handler, error) {
	if cfg.BodyLimit == 0 {
		cfg.BodyLimit = defaultBodyLimit
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	spec, err := openapi3.NewLoader().LoadFromData(backend.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	s := &server{
		cfg: cfg, uses: uses, tokens: Tokens{Secret: cfg.JWTSecret}, log: deps.Log, now: deps.Now, newID: deps.NewID,
		limiter: deps.Limiter, observe: deps.Observe,
	}
	m := &router{spec: spec, wrap: s.layers, served: map[string]bool{}}
	gen.HandlerWithOptions(gen.NewStrictHandlerWithOptions(&operations{s}, nil, gen.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  func(w http.ResponseWriter, r *http.Request, err error) { writeError(w, r, asInvalid(err)) },
		ResponseErrorHandlerFunc: writeError,
	}), gen.StdHTTPServerOptions{
		BaseRouter:       m,
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) { writeError(w, r, asInvalid(err)) },
	})
	if err := s.mountDocuments(m, deps.Metrics); err != nil {
		return nil, err
	}
	if err := m.complete(); err != nil {
		return nil, err
	}
	return s.observed(secured(cfg.Production, cfg.CORS.Wrap(m))), nil
}

// layers puts what an operation needs before its handler, the first to act last.
func (s *server) layers(op *operation, next http.Handler) http.Handler {
	next = s.valid(op, next)
	if op.signedIn {
		next = s.signedIn(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r.Context()).route = op.route.Path
		next.ServeHTTP(w, r)
	})
}

// operations implements the generated interface: every method reads its request, does one thing and shows the result.
type operations struct{ s *server }

var _ gen.StrictServerInterface = (*operations)(nil)
