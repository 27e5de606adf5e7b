package gateway

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

// route is an API as the gateway serves it. It is immutable.
type route struct {
	id      id.ID
	text    string // id
	slug    string
	target  *target
	matcher *listing.Matcher
	offers  map[id.ID]*offer
}

// offer is an endpoint with what its calls say of it, made once and not for each call.
type offer struct {
	*listing.Endpoint
	name   string
	charge []string // the X-Callora-Charge of a charged call
}

func newOffer(e *listing.Endpoint) *offer {
	return &offer{Endpoint: e, name: e.Method + " " + e.Path, charge: []string{e.Price.String()}}
}

// offer returns what a call buys, see listing.Matcher.Find.
func (r *route) offer(method string, path listing.Path) (*offer, bool) {
	e, ok := r.matcher.Find(method, path)
	if !ok {
		return nil, false
	}
	return r.offers[e.ID], true
}

// catchAll returns what a call buys that has no path, see listing.Matcher.Any.
func (r *route) catchAll(method string) (*offer, bool) {
	e, ok := r.matcher.Any(method)
	if !ok {
		return nil, false
	}
	return r.offers[e.ID], true
}

// target is an upstream's base, ready to be joined with a call's path.
type target struct {
	scheme, host string
	prefix       string // escaped, without a final slash
}

func newTarget(base string) (*target, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("upstream %q is not an http or https URL", base)
	}
	t := &target{scheme: u.Scheme, host: u.Host}
	if path := strings.Trim(u.EscapedPath(), "/"); path != "" {
		t.prefix = "/" + path
	}
	return t, nil
}

// table finds a route by slug or id. Readers take a snapshot; one writer copies the map for each batch of changes, which for
// ten thousand APIs takes about a millisecond.
type table struct {
	source ports.Routes
	report func(error)
	now    atomic.Pointer[map[string]*route]
}

func (t *table) find(ref string) *route {
	m := t.now.Load()
	if m == nil {
		return nil
	}
	return (*m)[ref]
}

func (t *table) loaded() bool { return t.now.Load() != nil }

// load reads all routes anew.
func (t *table) load(ctx context.Context) error {
	apis, err := t.source.ActiveAPIs(ctx)
	if err != nil {
		return fmt.Errorf("load the routes: %w", err)
	}
	next := make(map[string]*route, 2*len(apis))
	for _, a := range apis {
		t.put(next, a)
	}
	t.now.Store(&next)
	return nil
}

// reload reads single APIs anew and returns those that could not be read; they stay as they were.
func (t *table) reload(ctx context.Context, apis []id.ID) (failed []id.ID, err error) {
	next := maps.Clone(*t.now.Load())
	var active []listing.API
	for _, u := range apis {
		a, e := t.source.API(ctx, u)
		if e != nil && !errors.Is(e, listing.ErrNotFound) {
			failed, err = append(failed, u), fmt.Errorf("reload API %s: %w", u, e)
			continue
		}
		if old := next[u.String()]; old != nil {
			delete(next, old.slug)
			delete(next, old.text)
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
func (t *table) put(m map[string]*route, a listing.API) {
	base, err := newTarget(a.BaseURL)
	if err != nil {
		t.report(fmt.Errorf("API %s is not served: %w", a.Slug, err))
		return
	}
	r := &route{
		id: a.ID, text: a.ID.String(), slug: a.Slug, target: base, matcher: listing.NewMatcher(a.Endpoints),
		offers: make(map[id.ID]*offer, len(a.Endpoints)),
	}
	for i := range a.Endpoints {
		r.offers[a.Endpoints[i].ID] = newOffer(&a.Endpoints[i])
	}
	m[r.slug], m[r.text] = r, r
}
