package routes

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// source has one API. reading is called in the middle of a look.
type source struct {
	api     listing.API
	reads   int
	reading func()
}

func (s *source) ActiveAPIs(context.Context) ([]listing.API, error) { return []listing.API{s.api}, nil }

func (s *source) API(_ context.Context, u id.ID) (listing.API, error) {
	s.reads++
	seen := s.api
	if s.reading != nil {
		s.reading()
	}
	if u != seen.ID {
		return listing.API{}, listing.ErrNotFound
	}
	return seen, nil
}

func loaded(t *testing.T, s *source) *Table {
	t.Helper()
	s.api = listing.API{ID: id.ID{15: 1}, Slug: "weather", BaseURL: "https://a.example", Status: listing.Active}
	table := New(s, time.Now, func(err error) { t.Error(err) })
	if err := table.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return table
}

// An API that goes off sale while it is read, for whatever reason, must not come back by what was read.
func TestWhatWasReadBeforeAChangeDoesNotComeBack(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*Table, *source){
		"reload":  func(table *Table, s *source) { _, _ = table.Reload(t.Context(), []id.ID{s.api.ID}) },
		"look up": func(table *Table, s *source) { _, _ = table.LookUp(t.Context(), s.api.ID, time.Now().Add(time.Hour)) },
	} {
		s := &source{}
		table := loaded(t, s)
		s.reading = func() {
			s.reading = nil
			s.api.Status = listing.Archived
			table.Forget(s.api.ID)
		}
		read(table, s)
		if table.Find("weather") != nil {
			t.Errorf("%s: the API is on sale again", name)
		}
		if _, err := table.LookUp(t.Context(), s.api.ID, time.Time{}); !errors.Is(err, listing.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatHasNotChangedIsNotReplaced(t *testing.T) {
	t.Parallel()
	s := &source{}
	table := loaded(t, s)
	before := table.Find("weather")
	later := time.Now()
	r, err := table.LookUp(t.Context(), s.api.ID, later)
	if err != nil || r != before || !r.Fresh(later) || s.reads != 1 {
		t.Errorf("%v, the same %v, fresh %v, %d reads", err, r == before, r.Fresh(later), s.reads)
	}
	if _, err := table.LookUp(t.Context(), s.api.ID, later); err != nil || s.reads != 1 {
		t.Errorf("%v, %d reads", err, s.reads)
	}
	for range 3 {
		if _, err := table.LookUp(t.Context(), id.ID{15: 2}, time.Time{}); !errors.Is(err, listing.ErrNotFound) || s.reads != 2 {
			t.Errorf("%v, %d reads", err, s.reads)
		}
	}
}

func TestABaseURLIsJoinedWithOneSlash(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{"http://h": "", "http://h/": "", "http://h//": "", "http://h/a/": "/a", "http://h//a//": "/a", "http://h/%61": "/%61"} {
		if got, err := NewTarget(base); err != nil || got.Prefix != want {
			t.Errorf("%s: %+v, %v", base, got, err)
		}
	}
	for _, base := range []string{"", "h", "ftp://h", "http://", "://"} {
		if _, err := NewTarget(base); err == nil {
			t.Errorf("%s is a target", base)
		}
	}
}
