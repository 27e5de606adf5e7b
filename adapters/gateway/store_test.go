package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// fakeStore is keys, routes and the news of them.
type fakeStore struct {
	mu      sync.Mutex
	keys    map[string]apikey.Key
	apis    map[id.ID]listing.API
	looked  int
	read    int // APIs
	away    bool
	deaf    bool  // no look for changes succeeds
	sick    id.ID // the API that cannot be read
	news    chan []ports.Change
	reading func()      // called in the middle of a look-up
	fund    func(id.ID) // gives the consumer of a new key money; nil: nobody charges
}

func newFakeStore() *fakeStore {
	return &fakeStore{keys: map[string]apikey.Key{}, apis: map[id.ID]listing.API{}, news: make(chan []ports.Change)}
}

var errAway = errors.New("database is away")

func (s *fakeStore) addKey(t testing.TB, k apikey.Key) (plain string) {
	t.Helper()
	plain, prefix, hash, err := apikey.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.ID, k.Prefix, k.Hash = newID(), prefix, hash
	if s.fund != nil {
		s.fund(k.UserID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[prefix] = k
	return plain
}

func (s *fakeStore) changeKey(plain string, change func(*apikey.Key)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix, _ := apikey.PrefixOf(plain)
	k := s.keys[prefix]
	change(&k)
	s.keys[prefix] = k
}

func (s *fakeStore) setAPI(a listing.API) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apis[a.ID] = a
}

func (s *fakeStore) KeyByPrefix(_ context.Context, prefix string) (apikey.Key, error) {
	s.mu.Lock()
	s.looked++
	k, ok := s.keys[prefix]
	away, reading := s.away, s.reading
	s.mu.Unlock()
	if reading != nil {
		reading()
	}
	if away {
		return apikey.Key{}, errAway
	}
	if !ok {
		return apikey.Key{}, apikey.ErrNotFound
	}
	return k, nil
}

func (s *fakeStore) set(change func(*fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeStore) isDeaf() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deaf
}

func (s *fakeStore) apisRead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

func (s *fakeStore) key(plain string) apikey.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix, _ := apikey.PrefixOf(plain)
	return s.keys[prefix]
}

func (s *fakeStore) lookUps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looked
}

func (s *fakeStore) ActiveAPIs(context.Context) ([]listing.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	var out []listing.API
	for _, a := range s.apis {
		if a.Status == listing.Active {
			out = append(out, a)
		}
	}
	return out, nil
}

func (s *fakeStore) API(_ context.Context, u id.ID) (listing.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read++
	if s.away || u == s.sick {
		return listing.API{}, errAway
	}
	a, ok := s.apis[u]
	if !ok {
		return listing.API{}, listing.ErrNotFound
	}
	return a, nil
}

func (s *fakeStore) Follow(ctx context.Context, started chan<- struct{}, on func([]ports.Change, time.Time)) error {
	close(started)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case c := <-s.news:
			on(c, time.Now())
		case <-tick.C:
			if asOf := time.Now(); !s.isDeaf() {
				on(nil, asOf)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *fakeStore) tell(changes ...ports.Change) { s.news <- changes; s.news <- nil }

// fakeLimiter admits the whole limit of each key and nothing more: its windows do not end.
type fakeLimiter struct {
	mu    sync.Mutex
	taken map[string]int
}

func newFakeLimiter() *fakeLimiter { return &fakeLimiter{taken: map[string]int{}} }

func (f *fakeLimiter) Take(key string, limit int, window time.Duration) ports.Decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken[key] == limit {
		return ports.Decision{Limit: limit, Reset: window, RetryAfter: window}
	}
	f.taken[key]++
	return ports.Decision{Allowed: true, Limit: limit, Remaining: limit - f.taken[key], Reset: window}
}

func (f *fakeLimiter) Return(key string, _ int, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken[key]--
}
