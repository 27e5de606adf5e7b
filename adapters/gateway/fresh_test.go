package gateway

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// deafen lets the change feed's looks fail, and waits until the last good one is too long ago.
func (h *fixture) deafen() {
	h.t.Helper()
	h.store.set(func(s *fakeStore) { s.deaf = true })
	eventually(h.t, "the last good look is old", func() bool { return !h.gw.since(time.Now()).IsZero() })
}

func TestWithoutTheChangeFeedARevokedKeyIsRefusedInTime(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.StaleAfter = 100 * time.Millisecond })
	h.get("/cheap").want(t, 200, "")
	h.deafen()
	h.get("/cheap").want(t, 200, "")
	h.store.changeKey(h.key, func(k *apikey.Key) { k.RevokedAt = time.Now() })
	revoked := time.Now()
	for h.get("/cheap").StatusCode != 403 {
		if time.Since(revoked) > 5*time.Second {
			t.Fatal("a revoked key lives on while nobody looks for changes")
		}
	}
	h.store.set(func(s *fakeStore) { s.deaf = false })
}

func TestWithoutTheChangeFeedPricesAndSalesEndInTime(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.StaleAfter = 100 * time.Millisecond })
	h.get("/cheap").want(t, 200, "")
	h.deafen()
	dearer := h.api
	dearer.Endpoints = []listing.Endpoint{{ID: newID(), Method: "*", Path: "/cheap", Price: money.MustParse("0.07")}}
	h.store.setAPI(dearer)
	eventually(t, "the new price is asked", func() bool { return h.get("/cheap").Header.Get("X-Callora-Charge") == "0.0700000" })
	dearer.Status = listing.Paused
	h.store.setAPI(dearer)
	eventually(t, "the paused API is refused", func() bool { return h.get("/cheap").StatusCode == 404 })
	dearer.Status = listing.Active
	h.store.setAPI(dearer)
	h.tell(change(h.api.ID))
	h.get("/cheap").want(t, 200, "")
}

func TestWithoutFeedAndDatabaseCallsAreRefusedAndNotServedFromMemory(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"keys", "routes"} {
		h := open(t, echo, func(c *Config, _ *Deps) { c.StaleAfter = 50 * time.Millisecond })
		h.get("/cheap").want(t, 200, "")
		h.deafen()
		h.store.set(func(s *fakeStore) {
			if lost == "keys" {
				s.away = true
			} else {
				s.sick = h.api.ID
			}
		})
		eventually(t, "calls are refused", func() bool { return h.get("/cheap").StatusCode == 503 })
		h.get("/cheap").want(t, 503, "SERVICE_UNAVAILABLE")
		h.store.set(func(s *fakeStore) { s.away, s.sick = false, id.ID{} })
		h.get("/cheap").want(t, 200, "")
		h.store.set(func(s *fakeStore) { s.deaf = false })
		eventually(t, "memory is believed again", func() bool { return h.gw.since(time.Now()).IsZero() })
	}
}

// While nothing is known of changes, a key and its API are read once per StaleAfter however many calls come.
func TestReadingThroughIsBounded(t *testing.T) {
	t.Parallel()
	const stale = 200 * time.Millisecond
	h := open(t, echo, func(c *Config, _ *Deps) { c.StaleAfter = stale })
	h.get("/cheap").want(t, 200, "")
	h.deafen()
	keys, apis, start := h.store.lookUps(), h.store.apisRead(), time.Now()
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for range 25 {
				h.get("/cheap").want(t, 200, "")
			}
		})
	}
	calls.Wait()
	most := int(time.Since(start)/stale) + 1
	if k, a := h.store.lookUps()-keys, h.store.apisRead()-apis; k > most || a > most {
		t.Errorf("%d keys and %d APIs were read for 200 calls, want at most %d of each", k, a, most)
	}
}

func TestANewAPIIsServedBeforeItsNewsComes(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	for n := range 50 {
		a := h.api
		a.ID, a.Slug = newID(), fmt.Sprintf("new-%d", n)
		h.store.setAPI(a)
		key := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: a.ID, Scopes: []string{"*"}})
		for _, ref := range []string{a.Slug, a.ID.String()} {
			r := h.request("GET", "/cheap", nil)
			r.URL.Path = "/v1/call/" + ref + "/cheap"
			r.Header.Set("X-Api-Key", key)
			h.do(r).want(t, 200, "")
		}
	}
}

func TestAKeyOpensNoOtherAPIAndLooksForNone(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	unlisted := h.api
	unlisted.ID, unlisted.Slug, unlisted.Status = newID(), "unlisted", listing.Paused
	h.store.setAPI(unlisted)
	key := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: unlisted.ID, Scopes: []string{"*"}})
	looked := h.store.apisRead()
	for range 30 {
		for _, ref := range []string{"nothing", "unlisted"} {
			r := h.request("GET", "/cheap", nil)
			r.URL.Path = "/v1/call/" + ref + "/cheap"
			h.do(r).want(t, 404, "NOT_FOUND")
			r = h.request("GET", "/cheap", nil)
			r.URL.Path = "/v1/call/" + ref + "/cheap"
			r.Header.Set("X-Api-Key", key)
			h.do(r).want(t, 404, "NOT_FOUND")
		}
	}
	if n := h.store.apisRead() - looked; n != 1 {
		t.Errorf("%d APIs were read, want the one of the second key, once", n)
	}
	unlisted.Status = listing.Active
	h.store.setAPI(unlisted)
	h.gw.ForgetAPI(unlisted.ID)
	r := h.request("GET", "/cheap", nil)
	r.URL.Path = "/v1/call/unlisted/cheap"
	r.Header.Set("X-Api-Key", key)
	h.do(r).want(t, 200, "")
}

// A look-up that began before the revocation must neither be kept nor be shared with calls that come after it.
func TestAKeyThatWasForgottenDoesNotComeBack(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	begun, goOn := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer time.AfterFunc(3*time.Second, release).Stop() // who waits for the first fails, and does not hang
	var reads atomic.Int32
	h.store.set(func(s *fakeStore) {
		s.reading = func() {
			if reads.Add(1) == 1 {
				close(begun)
				<-goOn
			}
		}
	})
	first := make(chan int, 1)
	go func() { first <- h.get("/cheap").StatusCode }()
	<-begun
	h.store.changeKey(h.key, func(k *apikey.Key) { k.RevokedAt = time.Now() })
	h.gw.ForgetKey(h.store.key(h.key).ID)
	h.get("/cheap").want(t, 403, "FORBIDDEN") // while the first still reads
	release()
	if status := <-first; status != 200 { // it had begun before
		t.Errorf("the first call: %d", status)
	}
	h.get("/cheap").want(t, 403, "FORBIDDEN")
}

func TestAnAPIThatWasForgottenIsReadAgain(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	gone := h.api
	gone.Status = listing.Archived
	h.store.setAPI(gone)
	h.gw.ForgetAPI(h.api.ID)
	h.get("/cheap").want(t, 404, "NOT_FOUND")
}
