package catalog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

var (
	noon    = time.Date(2026, 5, 28, 12, 0, 0, 0, time.UTC)
	errDown = errors.New("the store is down")
)

// world is an empty marketplace with one developer.
type world struct {
	*portstest.Catalog
	dev     listing.Developer
	gateway portstest.Invalidator
	blocked string   // what the upstream check says
	asked   []string // which URLs it was asked about
}

func newWorld() *world {
	w := &world{Catalog: portstest.NewCatalog(), dev: listing.Developer{ID: newID(), UserID: newID(), Name: "Ada"}}
	w.AddDeveloper(w.dev)
	return w
}

// CheckUpstream implements ports.UpstreamCheck.
func (w *world) CheckUpstream(_ context.Context, baseURL string) string {
	w.asked = append(w.asked, baseURL)
	return w.blocked
}

func (w *world) publishAPI() PublishAPI {
	return PublishAPI{Store: w, Upstreams: w, Gateway: &w.gateway, Now: func() time.Time { return noon }, NewID: newID}
}

// input is an API that can be published.
func (w *world) input() PublishInput {
	return PublishInput{
		Actor: w.dev.UserID, Name: "Weather", Description: "What it will be like", BaseURL: "https://api.example/v1", Category: "data",
		Endpoints: []PublishEndpoint{{Method: "GET", Path: "/forecast", Price: "0.01"}},
	}
}

func (w *world) publish(t *testing.T, in PublishInput) listing.API {
	t.Helper()
	api, err := w.publishAPI().Do(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// wrong returns what a VALIDATION_ERROR says about each field.
func wrong(t *testing.T, err error) map[string]fault.Detail {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Invalid || f.Code != "VALIDATION_ERROR" {
		t.Fatalf("error = %v, want a VALIDATION_ERROR", err)
	}
	out := map[string]fault.Detail{}
	for _, d := range f.Details {
		if _, twice := out[d.Field]; twice || d.Message == "" || d.Code == "" {
			t.Errorf("%+v is said twice, or says nothing", d)
		}
		out[d.Field] = d
	}
	return out
}
