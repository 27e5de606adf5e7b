// Package routes holds what the gateway sells, in memory: an immutable table that is replaced as APIs change.
package routes

import (
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// API is an API as the gateway serves it. It is immutable but for asOf.
type API struct {
	ID        id.ID
	Text      string // ID
	Slug      string
	Target    *Target
	matcher   *listing.Matcher
	endpoints map[id.ID]*Endpoint
	source    listing.API
	asOf      atomic.Pointer[time.Time] // when it was last read
}

// Fresh reports whether the API is known to have been so at a time or later; any is fresh enough for the zero time.
func (r *API) Fresh(since time.Time) bool { return since.IsZero() || !r.asOf.Load().Before(since) }

// Named reports whether ref is the API's slug or id.
func (r *API) Named(ref string) bool { return ref == r.Slug || ref == r.Text }

// Endpoint is an endpoint with what its calls say of it, made once and not for each call.
type Endpoint struct {
	*listing.Endpoint
	Name   string   // method and path
	Charge []string // the X-Callora-Charge of a charged call
}

func newEndpoint(e *listing.Endpoint) *Endpoint {
	return &Endpoint{Endpoint: e, Name: e.Method + " " + e.Path, Charge: []string{e.Price.String()}}
}

// Endpoint returns what a call buys, see listing.Matcher.Find.
func (r *API) Endpoint(method string, path listing.Path) (*Endpoint, bool) {
	e, ok := r.matcher.Find(method, path)
	if !ok {
		return nil, false
	}
	return r.endpoints[e.ID], true
}

// CatchAll returns what a call buys that has no path, see listing.Matcher.Any.
func (r *API) CatchAll(method string) (*Endpoint, bool) {
	e, ok := r.matcher.Any(method)
	if !ok {
		return nil, false
	}
	return r.endpoints[e.ID], true
}

// Target is an upstream's base, ready to be joined with a call's path.
type Target struct {
	Scheme, Host string
	Prefix       string // escaped, without a final slash
}

// NewTarget reads a base URL, which must be an absolute http or https URL.
func NewTarget(base string) (*Target, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("upstream %q is not an http or https URL", base)
	}
	t := &Target{Scheme: u.Scheme, Host: u.Host}
	if path := strings.Trim(u.EscapedPath(), "/"); path != "" {
		t.Prefix = "/" + path
	}
	return t, nil
}

// newAPI prepares what calls of an API need each time.
func newAPI(a listing.API, asOf time.Time) (*API, error) {
	base, err := NewTarget(a.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("API %s is not served: %w", a.Slug, err)
	}
	r := &API{
		ID: a.ID, Text: a.ID.String(), Slug: a.Slug, Target: base, matcher: listing.NewMatcher(a.Endpoints),
		endpoints: make(map[id.ID]*Endpoint, len(a.Endpoints)), source: a,
	}
	for i := range a.Endpoints {
		r.endpoints[a.Endpoints[i].ID] = newEndpoint(&a.Endpoints[i])
	}
	r.asOf.Store(&asOf)
	return r, nil
}
