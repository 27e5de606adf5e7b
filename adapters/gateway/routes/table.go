package routes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	absentMost = 10_000          // APIs remembered as not on sale
	absentFor  = 5 * time.Second // one that is put on sale elsewhere works at the latest after this, also when news of it is lost
	lookUpTime = 3 * time.Second
	reloadMost = 10
	lookUpMost = 4 // look-ups at once, so that others find connections in the pool
)

// ErrUnavailable means that APIs cannot be looked up.
var ErrUnavailable = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: APIs cannot be looked up at present")

// Table finds an API by slug or id. Readers take a snapshot; writers take turns and copy the map for each batch of changes,
// which for ten thousand APIs takes about a millisecond.
type Table struct {
	source ports.Routes
	clock  ports.Clock
	report func(error)
	now    atomic.Pointer[map[string]*API]
	absent *lru.Cache[id.ID, time.Time] // until when an API is taken to be not on sale
	flight singleflight.Group
	slots  chan struct{} // one for each look-up under way

	// writing orders what is put into the table. version grows with each change that is heard of: a look-up that began before
	// one is neither kept nor shared with who comes after it.
	writing sync.Mutex
	version int64
}

// New returns an empty table. report is told of APIs that cannot be served.
func New(source ports.Routes, clock ports.Clock, report func(error)) *Table {
	absent, err := lru.New[id.ID, time.Time](absentMost)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &Table{source: source, clock: clock, report: report, absent: absent, slots: make(chan struct{}, lookUpMost)}
}

// Find returns the API with a slug or id, nil when there is none in memory.
func (t *Table) Find(ref string) *API {
	m := t.now.Load()
	if m == nil {
		return nil
	}
	return (*m)[ref]
}

// Loaded reports whether the APIs have been read.
func (t *Table) Loaded() bool { return t.now.Load() != nil }

// Load reads all APIs anew.
func (t *Table) Load(ctx context.Context) error {
	asOf := t.clock()
	apis, err := t.source.ActiveAPIs(ctx)
	if err != nil {
		return fmt.Errorf("load the routes: %w", err)
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	next := make(map[string]*API, 2*len(apis))
	for _, a := range apis {
		t.put(next, a, asOf)
	}
	t.now.Store(&next)
	return nil
}

// Reload reads single APIs anew and returns those that could not be read; they stay as they were.
func (t *Table) Reload(ctx context.Context, apis []id.ID) (failed []id.ID, err error) {
	for range reloadMost {
		version, asOf := t.versionNow(), t.clock()
		read, failed, err := t.readAll(ctx, apis)
		if t.keep(read, asOf, version) {
			return failed, err
		}
	}
	return apis, errors.New("reload APIs: others changed each time while they were read")
}

func (t *Table) versionNow() int64 {
	t.writing.Lock()
	defer t.writing.Unlock()
	return t.version
}

func (t *Table) readAll(ctx context.Context, apis []id.ID) (read []listing.API, failed []id.ID, err error) {
	for _, u := range apis {
		a, e := t.source.API(ctx, u)
		switch {
		case errors.Is(e, listing.ErrNotFound):
			read = append(read, listing.API{ID: u})
		case e != nil:
			failed, err = append(failed, u), fmt.Errorf("reload API %s: %w", u, e)
		default:
			read = append(read, a)
		}
	}
	return read, failed, err
}

// keep puts APIs into the table unless something has changed since version: then what was read may be old.
func (t *Table) keep(apis []listing.API, asOf time.Time, version int64) bool {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.version != version {
		return false
	}
	t.replace(apis, asOf)
	return true
}

// LookUp returns the API with an id as it was at since or later, from the database if need be. Faults: listing.ErrNotFound for one
// that is not on sale, ErrUnavailable.
func (t *Table) LookUp(ctx context.Context, u id.ID, since time.Time) (*API, error) {
	if r, err := t.remembered(u, since); r != nil || err != nil {
		return r, err
	}
	version := t.versionNow()
	got, err, _ := t.flight.Do(strconv.FormatInt(version, 36)+u.String(), func() (any, error) {
		if r, err := t.remembered(u, since); r != nil || err != nil { // another look-up has just ended
			return r, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookUpTime) // others wait for it too
		defer cancel()
		return t.read(ctx, u, version)
	})
	if err != nil {
		return nil, err
	}
	return got.(*API), nil
}

// remembered is what is known of an API without asking: the API as it was at since or later, listing.ErrNotFound, or neither.
func (t *Table) remembered(u id.ID, since time.Time) (*API, error) {
	if r := t.Find(u.String()); r != nil && r.Fresh(since) {
		return r, nil
	}
	if until, ok := t.absent.Get(u); ok && t.clock().Before(until) {
		return nil, listing.ErrNotFound
	}
	return nil, nil
}

// read looks an API up for callers who came while version was the present one.
func (t *Table) read(ctx context.Context, u id.ID, version int64) (*API, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return nil, ErrUnavailable.Because(ctx.Err())
	}
	asOf := t.clock()
	a, err := t.source.API(ctx, u)
	if err != nil && !errors.Is(err, listing.ErrNotFound) {
		return nil, ErrUnavailable.Because(err)
	}
	a.ID = u
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.version != version { // it may have changed while it was read: it is for the callers who came before
		if r, err := newAPI(a, asOf); err == nil && a.Status == listing.Active {
			return r, nil
		}
		return nil, listing.ErrNotFound
	}
	t.replace([]listing.API{a}, asOf)
	r := t.Find(u.String())
	if r == nil {
		t.absent.Add(u, asOf.Add(absentFor))
		return nil, listing.ErrNotFound
	}
	return r, nil
}

// Changed is told of APIs that may have changed. They stay as they are until they are reloaded.
func (t *Table) Changed(apis []id.ID) {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.version++
	for _, u := range apis {
		t.absent.Remove(u)
	}
}

// Forget drops an API: the next call of it looks it up.
func (t *Table) Forget(u id.ID) {
	t.Changed([]id.ID{u})
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.Find(u.String()) != nil {
		t.replace([]listing.API{{ID: u}}, time.Time{})
	}
}

// replace puts APIs as they are now into the table. Those that are not active go. The caller is the one who writes.
func (t *Table) replace(apis []listing.API, asOf time.Time) {
	if t.unchanged(apis, asOf) || !t.Loaded() {
		return
	}
	next := maps.Clone(*t.now.Load())
	for _, a := range apis {
		if old := next[a.ID.String()]; old != nil {
			delete(next, old.Slug)
			delete(next, old.Text)
		}
	}
	for _, a := range apis { // after all that go: one may have taken another's slug
		if a.Status == listing.Active {
			t.put(next, a, asOf)
		}
	}
	t.now.Store(&next)
}

// unchanged reports whether the APIs are in the table as they are, and notes that they are.
func (t *Table) unchanged(apis []listing.API, asOf time.Time) bool {
	for _, a := range apis {
		old := t.Find(a.ID.String())
		if old == nil && a.Status == listing.Active || old != nil && !reflect.DeepEqual(old.source, a) {
			return false
		}
		if old != nil {
			old.asOf.Store(&asOf)
		}
	}
	return true
}

// put adds an API. One that cannot be served is left out and reported; the others are served.
func (t *Table) put(m map[string]*API, a listing.API, asOf time.Time) {
	r, err := newAPI(a, asOf)
	if err != nil {
		t.report(err)
		return
	}
	m[r.Slug], m[r.Text] = r, r
}
