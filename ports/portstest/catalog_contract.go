package portstest

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// CatalogWorld is an empty marketplace under test, with one developer.
type CatalogWorld struct {
	Catalog    ports.Catalog
	Publishing ports.Publishing
	Routes     ports.Routes
	Developer  listing.Developer
	NewID      ports.NewID
}

// api describes an active API with operations such as "GET /forecast"; it is not published.
func (w CatalogWorld) api(slug string, operations ...string) listing.API {
	a := listing.API{
		ID: w.NewID(), DeveloperID: w.Developer.ID, Slug: slug, Name: "The " + slug, Description: "About " + slug,
		BaseURL: "https://" + slug + ".example", LogoURL: "https://logo.example/" + slug, Category: "data", Status: listing.Active,
		CreatedAt: moment(1), UpdatedAt: moment(2),
	}
	for i, op := range operations {
		method, path, _ := strings.Cut(op, " ")
		a.Endpoints = append(a.Endpoints, listing.Endpoint{
			ID: w.NewID(), APIID: a.ID, Method: method, Path: path, Price: money.FromStroops(int64(i)), Description: "does " + op,
			CreatedAt: moment(1), UpdatedAt: moment(2),
		})
	}
	return a
}

func (w CatalogWorld) publish(t testing.TB, a listing.API) listing.API {
	t.Helper()
	if err := w.Publishing.Publish(t.Context(), a); err != nil {
		t.Fatalf("publish %s: %v", a.Slug, err)
	}
	return a
}

// wantListed checks which APIs a query finds, in order.
func (w CatalogWorld) wantListed(t testing.TB, q ports.ListingQuery, total int, slugs ...string) {
	t.Helper()
	page, n, err := w.Catalog.ListedAPIs(t.Context(), q)
	var got []string
	for _, a := range page {
		got = append(got, a.Slug)
	}
	if err != nil || n != total || !slices.Equal(got, slugs) {
		t.Errorf("%+v: %q of %d, %v; want %q of %d", q, got, n, err, slugs, total)
	}
}

// CatalogContract holds a marketplace to what the ports promise.
func CatalogContract(t *testing.T, open func(t *testing.T) CatalogWorld) {
	run := func(name string, test func(t *testing.T, w CatalogWorld)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}

	run("an API comes back whole, by slug and by id in either case", func(t *testing.T, w CatalogWorld) {
		w.publish(t, w.api("other", "GET /x"))
		a := w.publish(t, w.api("maps", "GET /tiles/{z}", "* *", "DELETE /tiles"))
		want := ports.ListedAPI{API: a, Developer: w.Developer}
		for _, ref := range []string{"maps", a.ID.String(), strings.ToUpper(a.ID.String())} {
			if got, err := w.Catalog.ListedAPI(t.Context(), ref); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("by %s\ngot  %+v, %v\nwant %+v", ref, got, err, want)
			}
		}
		if got, err := w.Routes.API(t.Context(), a.ID); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("route\ngot  %+v, %v\nwant %+v", got, err, a)
		}
	})
	run("what is not there is not found", func(t *testing.T, w CatalogWorld) {
		w.publish(t, w.api("maps"))
		for _, ref := range []string{"map", "MAPS", "", w.NewID().String(), (id.ID{}).String()} {
			if got, err := w.Catalog.ListedAPI(t.Context(), ref); !errors.Is(err, listing.ErrNotFound) {
				t.Errorf("%q: %+v, %v", ref, got, err)
			}
		}
		if got, err := w.Routes.API(t.Context(), w.NewID()); !errors.Is(err, listing.ErrNotFound) {
			t.Errorf("route: %+v, %v", got, err)
		}
	})
	run("an id comes before a slug that reads like it", func(t *testing.T, w CatalogWorld) {
		a := w.api("maps")
		impostor := w.publish(t, w.api(a.ID.String()))
		if got, err := w.Catalog.ListedAPI(t.Context(), a.ID.String()); err != nil || got.ID != impostor.ID {
			t.Errorf("before: %q, %v", got.Slug, err)
		}
		w.publish(t, a)
		if got, err := w.Catalog.ListedAPI(t.Context(), a.ID.String()); err != nil || got.ID != a.ID {
			t.Errorf("found %q, %v; want the API with the id", got.Slug, err)
		}
	})
	run("only active APIs are listed and routed, and every one can be read", func(t *testing.T, w CatalogWorld) {
		active := []listing.API{w.publish(t, w.api("a", "GET /a")), w.publish(t, w.api("b"))}
		for _, s := range []listing.Status{listing.Draft, listing.Paused, listing.Archived} {
			a := w.api("hidden-"+string(s), "GET /x")
			a.Status = s
			w.publish(t, a)
			if _, err := w.Catalog.ListedAPI(t.Context(), a.Slug); !errors.Is(err, listing.ErrNotFound) {
				t.Errorf("%s: %v", s, err)
			}
			if got, err := w.Routes.API(t.Context(), a.ID); err != nil || !reflect.DeepEqual(got, a) {
				t.Errorf("%s: the gateway reads %+v, %v", s, got, err)
			}
		}
		w.wantListed(t, ports.ListingQuery{Limit: 9}, 2, "b", "a")
		routed, err := w.Routes.ActiveAPIs(t.Context())
		slices.SortFunc(routed, func(x, y listing.API) int { return bytes.Compare(x.ID[:], y.ID[:]) })
		if err != nil || !reflect.DeepEqual(routed, active) {
			t.Errorf("routed %+v, %v\nwant   %+v", routed, err, active)
		}
	})
	run("of APIs with one slug, published at once, one is published", func(t *testing.T, w CatalogWorld) {
		rivals := make([]listing.API, 8)
		for i := range rivals {
			rivals[i] = w.api("maps", "GET /x")
		}
		winner := oneWins(t, len(rivals), listing.ErrSlugTaken, func(i int) error { return w.Publishing.Publish(t.Context(), rivals[i]) })
		got, err := w.Catalog.ListedAPI(t.Context(), "maps")
		if err != nil || !reflect.DeepEqual(got.API, rivals[winner]) {
			t.Errorf("published %+v, %v; want the winner", got, err)
		}
		w.wantListed(t, ports.ListingQuery{Limit: 9}, 1, "maps")
	})
	run("only a developer publishes", func(t *testing.T, w CatalogWorld) {
		if got, err := w.Publishing.DeveloperOf(t.Context(), w.Developer.UserID); err != nil || got != w.Developer {
			t.Errorf("developer %+v, %v; want %+v", got, err, w.Developer)
		}
		for _, user := range []id.ID{w.NewID(), w.Developer.ID, {}} {
			if got, err := w.Publishing.DeveloperOf(t.Context(), user); !errors.Is(err, listing.ErrNoDeveloper) {
				t.Errorf("a stranger: %+v, %v", got, err)
			}
		}
		nobodys := w.api("maps")
		nobodys.DeveloperID = w.NewID()
		if err := w.Publishing.Publish(t.Context(), nobodys); !errors.Is(err, listing.ErrNoDeveloper) {
			t.Errorf("nobody's API: %v", err)
		}
		w.wantListed(t, ports.ListingQuery{Limit: 9}, 0)
	})
	run("a search takes every character as it is, in any case", testSearch)
	run("listings come newest first, page by page", func(t *testing.T, w CatalogWorld) {
		for i, slug := range []string{"a", "b", "c", "d", "e"} {
			a := w.api(slug, "GET /"+slug)
			a.CreatedAt = moment(10 - i/2) // two by two at one moment: then by id
			w.publish(t, a)
		}
		for offset, want := range map[int][]string{0: {"b", "a"}, 2: {"d", "c"}, 4: {"e"}, 6: nil} {
			w.wantListed(t, ports.ListingQuery{Limit: 2, Offset: offset}, 5, want...)
		}
		page, _, err := w.Catalog.ListedAPIs(t.Context(), ports.ListingQuery{Limit: 5})
		for _, a := range page {
			if len(a.Endpoints) != 1 || a.Endpoints[0].Path != "/"+a.Slug || a.Developer != w.Developer {
				t.Errorf("%s has the endpoints %+v of %+v", a.Slug, a.Endpoints, a.Developer)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func testSearch(t *testing.T, w CatalogWorld) {
	for i, row := range [][3]string{
		{"percent", "100% Rain", "data"}, {"under", "rain_gauge", "data"}, {"back", `C:\Rain`, "data"}, {"quote", "Rain's 'Best'", "data"},
		{"plain", "Rainy 1000 days gauges", "fun"}, {"weather", "Sun", "data"},
	} {
		a := w.api(row[0])
		a.Name, a.Category, a.CreatedAt = row[1], row[2], moment(i)
		if a.Slug == "plain" {
			a.Description = "with Ümlaut"
		}
		w.publish(t, a)
	}
	for _, tc := range []struct {
		category, search string
		want             []string
	}{
		{"", "", []string{"weather", "plain", "quote", "back", "under", "percent"}},
		{"", "RAIN", []string{"plain", "quote", "back", "under", "percent"}},
		{"", "about WEATHER", []string{"weather"}},
		{"", "0%", []string{"percent"}},
		{"", "%", []string{"percent"}},
		{"", "n_g", []string{"under"}},
		{"", `:\r`, []string{"back"}},
		{"", `\`, []string{"back"}},
		{"", "'s '", []string{"quote"}},
		{"", "ÜMLAUT", []string{"plain"}},
		{"fun", "rain", []string{"plain"}},
		{"fun", "weather", nil},
		{"Fun", "", nil},
		{"%", "", nil},
	} {
		w.wantListed(t, ports.ListingQuery{Category: tc.category, Search: tc.search, Limit: 50}, len(tc.want), tc.want...)
	}
}
