package catalog

import (
	"context"
	"errors"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

var everything = ports.ListingQuery{Limit: 100}

// takenSlugs is a marketplace on which somebody has every slug.
type takenSlugs struct{ *portstest.Catalog }

func (takenSlugs) Publish(context.Context, listing.API) error { return listing.ErrSlugTaken }

func TestTheMarketIsSearchedAPageAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for _, name := range []string{"Rain", "Snow", "Rainbow"} {
		in := w.input()
		in.Name = name
		w.publish(t, in)
	}
	got, err := ListAPIs{Catalog: w}.Do(t.Context(), ports.ListingQuery{Search: "rain", Category: "data", Limit: 1, Offset: 1})
	if err != nil || got.Total != 2 || len(got.Items) != 1 || got.Items[0].Name != "Rain" || got.Items[0].Developer != w.dev {
		t.Errorf("got %+v, %v; want Rain, the second of 2", got, err)
	}
	w.Fail = errDown
	if got, err := (ListAPIs{Catalog: w}).Do(t.Context(), everything); !errors.Is(err, errDown) || got.Total != 0 {
		t.Errorf("got %+v, %v; want %v", got, err, errDown)
	}
}

func TestAnAPIIsFoundByItsIDAndBySlug(t *testing.T) {
	t.Parallel()
	w := newWorld()
	api := w.publish(t, w.input())
	for _, ref := range []string{api.Slug, api.ID.String()} {
		if got, err := (GetAPI{Catalog: w}).Do(t.Context(), ref); err != nil || got.ID != api.ID {
			t.Errorf("%q: %+v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"nowhere", newID().String(), ""} {
		if got, err := (GetAPI{Catalog: w}).Do(t.Context(), ref); !errors.Is(err, listing.ErrNotFound) {
			t.Errorf("%q: %+v, %v", ref, got, err)
		}
	}
}
