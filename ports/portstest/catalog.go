package portstest

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Catalog is the marketplace in memory. It is ports.Catalog, ports.Publishing and ports.Routes. Fail, when set, is what
// every operation says.
type Catalog struct {
	Fail error

	mu         sync.Mutex
	developers map[id.ID]listing.Developer // by id
	apis       []listing.API
}

// NewCatalog returns an empty marketplace.
func NewCatalog() *Catalog { return &Catalog{developers: map[id.ID]listing.Developer{}} }

// AddDeveloper makes a seller known.
func (s *Catalog) AddDeveloper(d listing.Developer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.developers[d.ID] = d
}

// DeveloperOf implements ports.Publishing.
func (s *Catalog) DeveloperOf(_ context.Context, user id.ID) (listing.Developer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.developers {
		if d.UserID == user && s.Fail == nil {
			return d, nil
		}
	}
	return listing.Developer{}, orElse(s.Fail, listing.ErrNoDeveloper)
}

// Publish implements ports.Publishing.
func (s *Catalog) Publish(_ context.Context, a listing.API) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.developers[a.DeveloperID]; !known || s.Fail != nil {
		return orElse(s.Fail, listing.ErrNoDeveloper)
	}
	if slices.ContainsFunc(s.apis, func(b listing.API) bool { return a.Slug == b.Slug }) {
		return listing.ErrSlugTaken
	}
	a.Endpoints = slices.Clone(a.Endpoints)
	slices.SortFunc(a.Endpoints, func(x, y listing.Endpoint) int { return bytes.Compare(x.ID[:], y.ID[:]) })
	s.apis = append(s.apis, a)
	return nil
}

// ListedAPIs implements ports.Catalog.
func (s *Catalog) ListedAPIs(_ context.Context, q ports.ListingQuery) ([]ports.ListedAPI, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	search := strings.ToLower(q.Search)
	var all []ports.ListedAPI
	for _, a := range s.apis {
		found := strings.Contains(strings.ToLower(a.Name), search) || strings.Contains(strings.ToLower(a.Description), search)
		if a.Status == listing.Active && found && (q.Category == "" || q.Category == a.Category) {
			all = append(all, s.listed(a))
		}
	}
	slices.SortFunc(all, func(a, b ports.ListedAPI) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.API.ID[:], a.API.ID[:]))
	})
	return page(all, q.Limit, q.Offset), len(all), s.Fail
}

// ListedAPI implements ports.Catalog.
func (s *Catalog) ListedAPI(_ context.Context, ref string) (ports.ListedAPI, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byID, _ := id.Parse(ref) // else the zero id, which no API has
	for _, matches := range []func(listing.API) bool{
		func(a listing.API) bool { return a.ID == byID },
		func(a listing.API) bool { return a.Slug == ref },
	} {
		for _, a := range s.apis {
			if matches(a) && a.Status == listing.Active && s.Fail == nil {
				return s.listed(a), nil
			}
		}
	}
	return ports.ListedAPI{}, orElse(s.Fail, listing.ErrNotFound)
}

func (s *Catalog) listed(a listing.API) ports.ListedAPI {
	return ports.ListedAPI{API: a, Developer: s.developers[a.DeveloperID]}
}

// ActiveAPIs implements ports.Routes.
func (s *Catalog) ActiveAPIs(context.Context) ([]listing.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.apis), func(a listing.API) bool { return a.Status != listing.Active }), s.Fail
}

// API implements ports.Routes.
func (s *Catalog) API(_ context.Context, api id.ID) (listing.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.apis, func(a listing.API) bool { return a.ID == api })
	if i < 0 || s.Fail != nil {
		return listing.API{}, orElse(s.Fail, listing.ErrNotFound)
	}
	return s.apis[i], nil
}
