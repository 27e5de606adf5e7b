package api_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

type apiBody struct {
	ID, Slug, Name, Status, Category string
	Description                      *string
	BaseURL                          string `json:"base_url"`
	Developer                        *struct{ Name *string }
	Endpoints                        []struct {
		Path, Method string
		Price        string `json:"price_per_call_usdc"`
	}
}

type apiPage struct {
	Data []apiBody
	Meta struct{ Total, Limit, Offset int }
}

func TestAnybodyMayLookAroundTheMarket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.list(t, "maps", listing.Active)
	w.list(t, "secret", listing.Draft)
	var page apiPage
	w.as(t, id.ID{}, "GET", "/api/apis", "").into(200, &page)
	if page.Meta.Total != 2 || page.Meta.Limit != 20 || len(page.Data) != 2 || page.Data[0].Slug != "maps" {
		t.Errorf("%+v", page)
	}
	if a := page.Data[1]; a.Endpoints[0].Price != "0.0100000" || *a.Developer.Name != "Ada" || a.Description != nil {
		t.Errorf("%+v", a)
	}
	for _, ref := range []string{"weather", w.weather.ID.String(), strings.ToUpper(w.weather.ID.String())} {
		var one apiBody
		w.as(t, id.ID{}, "GET", "/api/apis/"+ref, "").into(200, &one)
		if one.ID != w.weather.ID.String() {
			t.Errorf("%s finds %+v", ref, one)
		}
	}
	for _, ref := range []string{"secret", "nothing", newID().String()} {
		w.as(t, id.ID{}, "GET", "/api/apis/"+ref, "").refused(404, "NOT_FOUND")
	}
	if d := w.as(t, id.ID{}, "GET", "/api/apis/a%2Fb", "").refused(400, "VALIDATION_ERROR"); !slices.Equal(d, []string{"params.id: id must be an id or a slug"}) {
		t.Error(d)
	}
}

func TestThePartOfAListIsAskedForInThreeWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 4 {
		w.list(t, fmt.Sprintf("api-%d", i), listing.Active)
	}
	for query, want := range map[string]string{
		"":                          "5 of 5, limit 20, offset 0",
		"limit=2":                   "2 of 5, limit 2, offset 0",
		"limit=2&offset=4":          "1 of 5, limit 2, offset 4",
		"limit=2&page=2":            "2 of 5, limit 2, offset 2",
		"limit=2&page=3&offset=1":   "1 of 5, limit 2, offset 4",
		"limit=5000":                "5 of 5, limit 100, offset 0",
		"page=2147483647&limit=100": "0 of 5, limit 100, offset 214748364600",
		"limit=&offset=&page=":      "5 of 5, limit 20, offset 0",
		"search=API-3":              "1 of 1, limit 20, offset 0",
		"search=%25":                "0 of 0, limit 20, offset 0",
		"category=data":             "5 of 5, limit 20, offset 0",
		"category=dat":              "0 of 0, limit 20, offset 0",
		"unknown=x&unknown=y":       "5 of 5, limit 20, offset 0",
	} {
		var page apiPage
		w.as(t, id.ID{}, "GET", "/api/apis?"+query, "").into(200, &page)
		if got := fmt.Sprintf("%d of %d, limit %d, offset %d", len(page.Data), page.Meta.Total, page.Meta.Limit, page.Meta.Offset); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

func TestWrongListParametersAreNamedTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for query, want := range map[string][]string{
		"limit=0":                            {"query.limit: limit must be >= 1"},
		"limit=-1":                           {"query.limit: limit must be a non-negative integer"},
		"limit=%2B5":                         {"query.limit: limit must be a non-negative integer"},
		"limit=1.5&page=1e":                  {"query.limit: limit must be a non-negative integer", "query.page: page must be a non-negative integer"},
		"limit=99999999999":                  {"query.limit: limit must be <= 2147483647"},
		"limit=5&limit=6":                    {"query.limit: limit must be given once"},
		"page=0&offset=x":                    {"query.offset: offset must be a non-negative integer", "query.page: page must be >= 1"},
		"search=%00":                         {"query.search: search must be text without control characters"},
		"search=" + strings.Repeat("x", 201): {"query.search: search must have at most 200 characters"},
		"limit=%zz":                          {"query: must be percent-encoded name=value pairs joined by &"},
	} {
		if got := w.as(t, id.ID{}, "GET", "/api/apis?"+query, "").refused(400, "VALIDATION_ERROR"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func TestADeveloperPublishesAnAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := `{"name": " Weather  Now! ", "base_url": "https://api.example", "category": "weather", "logo_url": null,
		"endpoints": [{"path": "/a/{x}", "method": "GET", "price_per_call_usdc": "0.01"}, {"path": "*", "method": "*", "price_per_call_usdc": "0"}]}`
	var made apiBody
	w.as(t, w.seller, "POST", "/api/apis", body).into(201, &made)
	if made.Slug != "weather-now" || made.Name != "Weather  Now!" || made.Status != "active" || made.Endpoints[0].Price != "0.0100000" || made.Developer != nil {
		t.Errorf("%+v", made)
	}
	var again, found apiBody
	w.as(t, w.seller, "POST", "/api/apis", body).into(201, &again)
	if !strings.HasPrefix(again.Slug, "weather-now-") || len(again.Slug) != len("weather-now-")+6 {
		t.Errorf("the second is %q", again.Slug)
	}
	w.as(t, id.ID{}, "GET", "/api/apis/"+again.Slug, "").into(200, &found)
	if found.ID != again.ID || len(found.Endpoints) != 2 {
		t.Errorf("%+v", found)
	}
	taken := strings.Replace(body, `{"name"`, `{"slug": "weather", "name"`, 1)
	w.as(t, w.seller, "POST", "/api/apis", taken).refused(409, "SLUG_TAKEN")
	w.as(t, w.consumer, "POST", "/api/apis", body).refused(400, "DEVELOPER_NOT_FOUND")
	w.as(t, id.ID{}, "POST", "/api/apis", body).refused(401, "UNAUTHORIZED")
}

func TestEveryWrongFieldOfANewAPIIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.blocked = "must not be a private address" })
	for body, want := range map[string][]string{
		`{}`:   {"body.base_url: is required", "body.category: is required", "body.endpoints: is required", "body.name: is required"},
		`null`: {"body: must not be null"},
		`[]`:   {"body: must be of type object"},
		`{"name": 5, "base_url": null, "category": "", "endpoints": [], "slug": "A b"}`: {
			"body.base_url: must not be null", "body.category: must not be empty", "body.endpoints: must have at least 1 entry",
			"body.name: must be of type string", "body.slug: must be lower-case letters, digits and single dashes between them",
		},
		`{"name": "x", "base_url": "https://a.example", "category": "c", "endpoints": [{"path": "/", "method": "get", "price_per_call_usdc": 0.01}, {}]}`: {
			"body.endpoints[0].method: must be one of: GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, *",
			"body.endpoints[0].price_per_call_usdc: must be of type string",
			"body.endpoints[1].method: is required", "body.endpoints[1].path: is required", "body.endpoints[1].price_per_call_usdc: is required",
		},
		`{"name": "x", "base_url": "https://10.0.0.1", "category": "c", "endpoints": [
			{"path": "/a/{x}", "method": "GET", "price_per_call_usdc": "0.00000001"}, {"path": "/a/{y}/", "method": "GET", "price_per_call_usdc": "1"},
			{"path": "a", "method": "GET", "price_per_call_usdc": "1000000.0000001"}]}`: {
			"body.base_url: must not be a private address",
			"body.endpoints[0].price_per_call_usdc: must have at most 7 decimals: that is one stroop, the smallest amount there is",
			"body.endpoints[1]: sells the same method and path as endpoints[0]",
			`body.endpoints[2].path: must be "*" or start with "/" and have at most 2048 characters`,
			"body.endpoints[2].price_per_call_usdc: must be at most 1000000.0000000",
		},
	} {
		got := w.as(t, w.seller, "POST", "/api/apis", body).refused(400, "VALIDATION_ERROR")
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", body, got, want)
		}
	}
}

func TestAHundredMistakesAreEnough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body, err := json.Marshal(map[string]any{"endpoints": make([]struct{}, 200)})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.as(t, w.seller, "POST", "/api/apis", string(body)).refused(400, "VALIDATION_ERROR"); len(got) != 100 {
		t.Errorf("%d details, want 100", len(got))
	}
}
