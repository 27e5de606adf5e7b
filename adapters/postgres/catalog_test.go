package postgres_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

func TestAnAPIComesBackAsItWasPublished(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog, routes := postgres.NewCatalog(m.db), postgres.NewRoutes(m.db)
	a := m.newAPI("maps", "GET /tiles/{z}", "* *", "DELETE /tiles")
	if err := catalog.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want := ports.ListedAPI{API: a, Developer: m.dev}
	for _, ref := range []string{"maps", a.ID.String(), strings.ToUpper(a.ID.String())} {
		if got, err := catalog.ListedAPI(t.Context(), ref); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("by %s\ngot  %+v, %v\nwant %+v", ref, got, err, want)
		}
	}
	if got, err := routes.API(t.Context(), a.ID); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("route\ngot  %+v, %v\nwant %+v", got, err, a)
	}
	if dev, err := catalog.DeveloperOf(t.Context(), m.dev.UserID); err != nil || dev != m.dev {
		t.Errorf("developer = %+v, %v", dev, err)
	}
}

func TestASlugThatLooksLikeAnIDHidesNobody(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog := postgres.NewCatalog(m.db)
	impostor := m.newAPI(m.api.ID.String(), "GET /x")
	lone := m.newAPI(newID().String(), "GET /x")
	for _, a := range []listing.API{impostor, lone} {
		if err := catalog.Publish(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := catalog.ListedAPI(t.Context(), m.api.ID.String()); err != nil || got.ID != m.api.ID {
		t.Errorf("found %q, %v; want the API with the id", got.Slug, err)
	}
	if got, err := catalog.ListedAPI(t.Context(), lone.Slug); err != nil || got.ID != lone.ID {
		t.Errorf("found %q, %v; want the API with the slug", got.Slug, err)
	}
}

func TestOnlyActiveAPIsAreListedAndRouted(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog, routes := postgres.NewCatalog(m.db), postgres.NewRoutes(m.db)
	for _, status := range []listing.Status{listing.Draft, listing.Paused, listing.Archived} {
		a := m.newAPI("hidden-"+string(status), "GET /x")
		a.Status = status
		if err := catalog.Publish(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.ListedAPI(t.Context(), a.Slug); !errors.Is(err, listing.ErrNotFound) {
			t.Errorf("%s: %v", status, err)
		}
		if got, err := routes.API(t.Context(), a.ID); err != nil || got.Status != status {
			t.Errorf("%s: the gateway reads %q, %v", status, got.Status, err)
		}
	}
	page, total, err := catalog.ListedAPIs(t.Context(), ports.ListingQuery{Limit: 10})
	if err != nil || total != 1 || len(page) != 1 || !reflect.DeepEqual(page[0].API, m.api) {
		t.Errorf("listed %+v of %d, %v", page, total, err)
	}
	active, err := routes.ActiveAPIs(t.Context())
	if err != nil || !reflect.DeepEqual(active, []listing.API{m.api}) {
		t.Errorf("routed %+v, %v", active, err)
	}
	if _, err := routes.API(t.Context(), newID()); !errors.Is(err, listing.ErrNotFound) {
		t.Errorf("an unknown API: %v", err)
	}
}

func TestPublishingIsAllOrNothing(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog := postgres.NewCatalog(m.db)
	nobodys := m.newAPI("nobodys", "GET /x")
	nobodys.DeveloperID = newID()
	for name, tc := range map[string]struct {
		give listing.API
		want fault.Kind
	}{
		"slug taken":         {m.newAPI("weather", "GET /y"), fault.Conflict},
		"one endpoint twice": {m.newAPI("twice", "GET /y", "GET /y"), fault.Invalid},
		"NUL in a path":      {m.newAPI("nul", "GET /y", "GET /\x00"), fault.Invalid},
		"no such developer":  {nobodys, fault.Invalid},
	} {
		if err := catalog.Publish(t.Context(), tc.give); fault.KindOf(err) != tc.want {
			t.Errorf("%s: %v, want kind %d", name, err, tc.want)
		}
	}
	if n := m.count(t, `SELECT count(*) FROM apis`); n != 1 {
		t.Errorf("%d APIs, want the first alone", n)
	}
	if err := catalog.Publish(t.Context(), m.newAPI("bare")); err != nil {
		t.Errorf("an API without endpoints: %v", err)
	}
	if _, err := catalog.DeveloperOf(t.Context(), newID()); !errors.Is(err, listing.ErrNoDeveloper) {
		t.Errorf("no developer: %v", err)
	}
}

func TestOfAPIsWithOneSlugOneIsPublished(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog := postgres.NewCatalog(m.db)
	published := 0
	for _, err := range atOnce(8, func(int) error { return catalog.Publish(t.Context(), m.newAPI("maps", "GET /x")) }) {
		switch {
		case err == nil:
			published++
		case !errors.Is(err, listing.ErrSlugTaken):
			t.Errorf("a loser got %v", err)
		}
	}
	if n := m.count(t, `SELECT count(*) FROM api_endpoints e JOIN apis a ON a.id = e.api_id WHERE a.slug = 'maps'`); published != 1 || n != 1 {
		t.Errorf("%d published with %d endpoints, want 1 with 1", published, n)
	}
}

func TestSearchTakesEveryCharacterAsItIs(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog := postgres.NewCatalog(m.db)
	for slug, name := range map[string]string{
		"percent": "100% Rain", "under": "rain_gauge", "back": `C:\Rain`, "plain": "Rainy 1000 days gauges", "quote": "Rain's 'Best'",
	} {
		a := m.newAPI(slug, "GET /x")
		a.Name, a.Description = name, ""
		if slug == "plain" {
			a.Category, a.Description = "fun", "with Ümlaut"
		}
		if err := catalog.Publish(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		category, search string
		want             []string
	}{
		{"", "", []string{"back", "percent", "plain", "quote", "under", "weather"}},
		{"", "RAIN", []string{"back", "percent", "plain", "quote", "under"}},
		{"", "0%", []string{"percent"}},
		{"", "n_g", []string{"under"}},
		{"", `:\r`, []string{"back"}},
		{"", "'s '", []string{"quote"}},
		{"", "ÜMLAUT", []string{"plain"}},
		{"fun", "rain", []string{"plain"}},
		{"fun", "weather", nil},
		{"Fun", "", nil},
		{"", "about WEATHER", []string{"weather"}},
		{"", "%", []string{"percent"}},
		{"", `\`, []string{"back"}},
	} {
		page, total, err := catalog.ListedAPIs(t.Context(), ports.ListingQuery{Category: tc.category, Search: tc.search, Limit: 50})
		var got []string
		for _, a := range page {
			got = append(got, a.Slug)
		}
		slices.Sort(got)
		if err != nil || total != len(tc.want) || !slices.Equal(got, tc.want) {
			t.Errorf("category %q, search %q: %q of %d, %v; want %q", tc.category, tc.search, got, total, err, tc.want)
		}
	}
	if _, _, err := catalog.ListedAPIs(t.Context(), ports.ListingQuery{Search: "a\x00b", Limit: 1}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("NUL in a search: %v, want a fault of the request", err)
	}
	if _, err := catalog.ListedAPI(t.Context(), "\xff"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("broken UTF-8 in a reference: %v, want a fault of the request", err)
	}
}

func TestListingsPageNewestFirst(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	catalog := postgres.NewCatalog(m.db)
	want := []string{"weather"}
	for i, slug := range []string{"a", "b", "c", "d"} {
		a := m.newAPI(slug, "GET /x")
		a.CreatedAt = moment(10 + i/2) // two by two at the same moment: then by id
		want = append([]string{slug}, want...)
		if err := catalog.Publish(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for offset := 0; offset < 6; offset += 2 {
		page, total, err := catalog.ListedAPIs(t.Context(), ports.ListingQuery{Limit: 2, Offset: offset})
		if err != nil || total != 5 {
			t.Fatalf("total = %d, %v", total, err)
		}
		for _, a := range page {
			got = append(got, a.Slug)
			if len(a.Endpoints) == 0 || a.Endpoints[0].APIID != a.ID || a.Developer != m.dev {
				t.Errorf("%s has endpoints %+v of %+v", a.Slug, a.Endpoints, a.Developer)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
