// Package edge is what every operation of the REST face has in common: routing by the spec, who may use an operation,
// validation, limits, headers, the error body, and the observation of each request.
package edge

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Config is how requests are received.
type Config struct {
	Production     bool // the metrics need their key, browsers are told to use HTTPS
	JWTSecret      []byte
	MetricsKey     string
	BodyLimit      int64         // bytes of a request body; 0: 100 kB
	BodyTime       time.Duration // from a request\'s header to the end of its body; 0: 10 s
	Timeout        time.Duration // of a request's work; 0: 30 s
	RateLimit      int           // requests of one user per RateWindow; 0: no limit
	PublicLimit    int           // requests of one address to one part of what is open to all, per RateWindow; 0: no limit
	RateWindow     time.Duration
	Proxies        httpkit.Proxies
	UserHeaderFrom []netip.Prefix // from where X-User-Id is believed, outside production only; nil: from nowhere
	CORS           CORS
}

// Deps is what the edge works with. Limiter and Observe may be nil.
type Deps struct {
	Log     *zap.Logger
	Now     ports.Clock
	NewID   ports.NewID
	Limiter ports.Limiter
	// Observe counts an answered request; route is a template of the spec.
	Observe func(method, route, group string, status int, took time.Duration)
}

const (
	defaultBodyLimit = 100 << 10
	defaultBodyTime  = 10 * time.Second
	defaultTimeout   = 30 * time.Second
)

// Edge serves the operations of a spec.
type Edge struct {
	cfg     Config
	deps    Deps
	tokens  Tokens
	router  *router
	handler http.Handler
}

// New returns an edge at which nothing is served yet.
func New(spec *openapi3.T, cfg Config, deps Deps) *Edge {
	if cfg.BodyLimit == 0 {
		cfg.BodyLimit = defaultBodyLimit
	}
	if cfg.BodyTime == 0 {
		cfg.BodyTime = defaultBodyTime
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	e := &Edge{cfg: cfg, deps: deps, tokens: Tokens{Secret: cfg.JWTSecret}}
	e.router = &router{spec: spec, accessOf: e.accessOf, wrap: e.layers, served: map[string]bool{}}
	e.handler = e.observed(secured(cfg.Production, cfg.CORS.Wrap(e.router)))
	return e
}

// HandleFunc mounts the handler of an operation of the spec, for example at "GET /api/apis/{id}".
func (e *Edge) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	e.router.HandleFunc(pattern, handler)
}

// ServeHTTP serves a request from its first byte to its line in the log.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// Complete is an error when the mounted operations are not those of the spec, or when the spec asks for what is not
// implemented, such as a security scheme that nobody knows.
func (e *Edge) Complete() error {
	if err := e.router.complete(); err != nil {
		return fmt.Errorf("openapi.yaml: %w", err)
	}
	return nil
}

// layers puts what an operation needs before its handler, the first to act last.
func (e *Edge) layers(op *operation, next http.Handler) http.Handler {
	next = e.valid(op, next)
	if op.access.open {
		next = e.public(op, next)
	} else {
		next = e.proven(op.access, next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r.Context()).route = op.route.Path
		next.ServeHTTP(w, r)
	})
}

// Actor is the signed-in user of an operation that needs one.
func Actor(ctx context.Context) id.ID { return exchangeOf(ctx).actor }
