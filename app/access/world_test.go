package access

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
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

// world is a marketplace with one active API, and a consumer.
type world struct {
	keys     *portstest.Keys
	catalog  *portstest.Catalog
	gateway  *portstest.Invalidator
	consumer id.ID
	dev      listing.Developer
	weather  listing.API
	now      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{keys: portstest.NewKeys(), catalog: portstest.NewCatalog(), gateway: &portstest.Invalidator{}, consumer: newID(), now: noon}
	w.dev = listing.Developer{ID: newID(), UserID: newID(), Name: "Ada"}
	w.catalog.AddDeveloper(w.dev)
	w.weather = w.list(t, "weather", listing.Active)
	return w
}

func (w *world) list(t *testing.T, slug string, status listing.Status) listing.API {
	t.Helper()
	a := listing.API{ID: newID(), DeveloperID: w.dev.ID, Slug: slug, Name: slug, Status: status, CreatedAt: noon}
	for _, sold := range []string{"GET /forecast", "POST /alerts", "* /any/{x}", "PUT *"} {
		method, path, _ := strings.Cut(sold, " ")
		a.Endpoints = append(a.Endpoints, listing.Endpoint{ID: newID(), APIID: a.ID, Method: method, Path: path})
	}
	if err := w.catalog.Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) clock() time.Time { return w.now }

func (w *world) issueKey() IssueKey {
	return IssueKey{Keys: w.keys, Catalog: w.catalog, Now: w.clock, NewID: newID, Random: rand.Reader}
}

func (w *world) rotateKey() RotateKey {
	return RotateKey{Keys: w.keys, Gateway: w.gateway, Now: w.clock, NewID: newID, Random: rand.Reader, Grace: time.Hour}
}

// issue gives the consumer a key for the API.
func (w *world) issue(t *testing.T) Issued {
	t.Helper()
	out, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: w.weather.Slug})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// drawsOf is a random source that gives one 24-byte secret after the other, each filled with one byte.
func drawsOf(fill ...byte) *bytes.Reader {
	var all []byte
	for _, b := range fill {
		all = append(all, bytes.Repeat([]byte{b}, 24)...)
	}
	return bytes.NewReader(all)
}

// wrongFields returns the fields that a VALIDATION_ERROR names.
func wrongFields(t *testing.T, err error) (fields []string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Invalid || f.Code != "VALIDATION_ERROR" {
		t.Fatalf("error = %v, want a VALIDATION_ERROR", err)
	}
	for _, d := range f.Details {
		if d.Message == "" || d.Code == "" {
			t.Errorf("%+v says nothing", d)
		}
		fields = append(fields, d.Field)
	}
	return fields
}
