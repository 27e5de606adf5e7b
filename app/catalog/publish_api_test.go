package catalog

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

func TestAPublishedAPIIsOnTheMarketAtOnceAndWhole(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.input()
	in.Slug, in.LogoURL = "fine-weather", "https://logo.example/w.png"
	in.Endpoints = append(in.Endpoints, PublishEndpoint{Method: "*", Path: "*", Price: "0", Description: " the rest "})
	got := w.publish(t, in)
	want := listing.API{
		ID: got.ID, DeveloperID: w.dev.ID, Slug: "fine-weather", Name: "Weather", Description: "What it will be like",
		BaseURL: "https://api.example/v1", LogoURL: "https://logo.example/w.png", Category: "data", Status: listing.Active,
		CreatedAt: noon, UpdatedAt: noon,
		Endpoints: []listing.Endpoint{
			{ID: got.Endpoints[0].ID, APIID: got.ID, Method: "GET", Path: "/forecast", Price: money.MustParse("0.01"), CreatedAt: noon, UpdatedAt: noon},
			{ID: got.Endpoints[1].ID, APIID: got.ID, Method: "*", Path: "*", Description: "the rest", CreatedAt: noon, UpdatedAt: noon},
		},
	}
	ids := []id.ID{{}, got.ID, got.Endpoints[0].ID, got.Endpoints[1].ID}
	slices.SortFunc(ids, func(a, b id.ID) int { return slices.Compare(a[:], b[:]) })
	if !reflect.DeepEqual(got, want) || len(slices.Compact(ids)) != 4 {
		t.Errorf("published %+v\nwant      %+v", got, want)
	}
	listed, err := GetAPI{Catalog: w}.Do(t.Context(), "fine-weather")
	if err != nil || !reflect.DeepEqual(listed.API, want) || listed.Developer != w.dev {
		t.Errorf("listed %+v, %v", listed, err)
	}
	if !slices.Equal(w.gateway.APIs, []id.ID{got.ID}) {
		t.Errorf("the gateway was told of %v", w.gateway.APIs)
	}
	if !slices.Equal(w.asked, []string{in.BaseURL}) {
		t.Errorf("the upstream check was asked about %q", w.asked)
	}
}

func TestWhoIsNoDeveloperIsToldSoFirst(t *testing.T) {
	t.Parallel()
	w := newWorld()
	if _, err := w.publishAPI().Do(t.Context(), PublishInput{Actor: newID()}); !errors.Is(err, listing.ErrNoDeveloper) {
		t.Errorf("error = %v, want %v", err, listing.ErrNoDeveloper)
	}
}

func TestASlugIsMadeOfTheName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Weather":                              "weather",
		"  Fine -- Weather!  2.0 ":             "fine-weather-2-0",
		"Ümlaut Café":                          "mlaut-caf",
		"天気":                                   "api",
		"---":                                  "api",
		"01980000-0000-7000-8000-000000000000": "api", // would read as an id
		strings.Repeat("a", 79) + "-b":         strings.Repeat("a", 79),
		strings.Repeat("a", 200):               strings.Repeat("a", 80),
	} {
		w := newWorld()
		in := w.input()
		in.Name = name
		if got := w.publish(t, in).Slug; got != want || !listing.ValidSlug(got) {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

func TestAMadeSlugThatIsTakenGetsARandomEnding(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for name, want := range map[string]string{
		"Weather":                       `^weather-[0-9a-f]{6}$`,
		strings.Repeat("long name ", 9): `^(long-name-){7}lon-[0-9a-f]{6}$`,
	} {
		in := w.input()
		in.Name = name
		w.publish(t, in)
		second, third := w.publish(t, in).Slug, w.publish(t, in).Slug
		if !regexp.MustCompile(want).MatchString(second) || !listing.ValidSlug(second) || second == third {
			t.Errorf("the second %q is %q, the third %q; want %s", name, second, third, want)
		}
	}
}

func TestASlugThatWasAskedForIsNeverChanged(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.input()
	in.Slug = "weather"
	w.publish(t, in)
	if _, err := w.publishAPI().Do(t.Context(), in); !errors.Is(err, listing.ErrSlugTaken) {
		t.Errorf("error = %v, want %v", err, listing.ErrSlugTaken)
	}
}

func TestTheSearchForAFreeSlugEnds(t *testing.T) {
	t.Parallel()
	w := newWorld()
	uc := w.publishAPI()
	uc.Store = takenSlugs{w.Catalog}
	if _, err := uc.Do(t.Context(), w.input()); !errors.Is(err, listing.ErrSlugTaken) {
		t.Errorf("error = %v, want %v", err, listing.ErrSlugTaken)
	}
}

func TestAStoreThatFailsPublishesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	uc := w.publishAPI()
	w.Fail = errDown
	if _, err := uc.Do(t.Context(), w.input()); !errors.Is(err, errDown) {
		t.Errorf("error = %v, want %v", err, errDown)
	}
	w.Fail = nil
	if got, err := (ListAPIs{Catalog: w}).Do(t.Context(), everything); err != nil || got.Total != 0 {
		t.Errorf("%d APIs are listed, %v", got.Total, err)
	}
}
