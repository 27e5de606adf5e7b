// Package routes holds what the gateway sells, in memory: an immutable table that one writer replaces as APIs change.
package routes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// API is an API as the gateway serves it. It is immutable.
type API struct {
	ID        id.ID
	Text      string // ID
	Slug      string
	Target    *Target
	matcher   *listing.Matcher
	endpoints map[id.ID]*Endpoint
}

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

// Table finds a route by slug or id. Readers take a snapshot; one writer copies the map for each batch of changes, which for
// ten thousand APIs takes about a millisecond.
type Table struct {
	source ports.Routes
	report func(error)
	now    atomic.Pointer[map[string]*API]
}

// New returns an empty table. report is told of APIs that cannot be served.
func New(source ports.Routes, report func(error)) *Table {
	return &Table{source: source, report: report}
}

// Find returns the API with a slug or id, nil when there is none.
func (t *Table) Find(ref string) *API {
	m := t.now.Load()
	if m == nil {
		return nil
	}
	return (*m)[ref]
}

// Loaded reports whether the routes have been read.
func (t *Table) Loaded() bool { return t.now.Load() != nil }

// Load reads all routes anew.
func (t *Table) Load(ctx context.Context) error {
	apis, err := t.source.ActiveAPIs(ctx)
	if err != nil {
		return fmt.Errorf("load the routes: %w", err)
	}
	next := make(map[string]*API, 2*len(apis))
	for _, a := range apis {
		t.put(next, a)
	}
	t.now.Store(&next)
	return nil
}

// Reload reads single APIs anew and returns those that could not be read; they stay as they were.
func (t *Table) Reload(ctx context.Context, apis []id.ID) (failed []id.ID, err error) {
	next := maps.Clone(*t.now.Load())
	var active []listing.API
	for _, u := range apis {
		a, e := t.source.API(ctx, u)
		if e != nil && !errors.Is(e, listing.ErrNotFound) {
			failed, err = append(failed, u), fmt.Errorf("reload API %s: %w", u, e)
			continue
		}
		if old := next[u.String()]; old != nil {
			delete(next, old.Slug)
			delete(next, old.Text)
		}
		if e == nil && a.Status == listing.Active {
			active = append(active, a)
		}
	}
	for _, a := range active { // after all that go: one may have taken another's slug
		t.put(next, a)
	}
	t.now.Store(&next)
	return failed, err
}

// put adds an API. One that cannot be served is left out and reported; the others are served.
func (t *Table) put(m map[string]*API, a listing.API) {
	base, err := NewTarget(a.BaseURL)
	if err != nil {
		t.report(fmt.Errorf("API %s is not served: %w", a.Slug, err))
		return
	}
	r := &API{
		ID: a.ID, Text: a.ID.String(), Slug: a.Slug, Target: base, matcher: listing.NewMatcher(a.Endpoints),
		endpoints: make(map[id.ID]*Endpoint, len(a.Endpoints)),
	}
	for i := range a.Endpoints {
		r.endpoints[a.Endpoints[i].ID] = newEndpoint(&a.Endpoints[i])
	}
	m[r.Slug], m[r.Text] = r, r
}
