// Package keys holds the API keys that callers use, in memory, until the change feed says that one has changed.
package keys

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	absentMost = 100_000         // prefixes remembered as unknown, so that guessing costs little
	absentFor  = 5 * time.Second // a key made elsewhere works at the latest after this, also when news of it is lost
	lookUpTime = 3 * time.Second
	lookUpMost = 8 // look-ups at once, so that others find connections in the pool
)

// ErrUnavailable means that keys cannot be looked up.
var ErrUnavailable = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: API keys cannot be checked at present")

// Cache holds the keys that were used, until it is told that one has changed.
type Cache struct {
	source    ports.KeyLookup
	now       ports.Clock
	perMinute int
	present   sync.Map                      // prefix -> *Key
	absent    *lru.Cache[string, time.Time] // prefix -> until when it is taken for unknown
	flight    singleflight.Group
	slots     chan struct{} // one for each look-up under way

	// keeping orders what look-ups keep with what is forgotten. version grows with each change: a look-up that began before one
	// is neither kept nor shared with who comes after it.
	keeping sync.Mutex
	version int64
}

// Key is a key with what its calls need each time, made once.
type Key struct {
	apikey.Key
	Owner     string       // UserID
	Limit     int          // calls per minute, the key's own or the gateway's; 0: no limit
	LimitText []string     // X-RateLimit-Limit
	asOf      time.Time    // when it was read
	used      atomic.Int64 // unix minute of the last use that has been noted
}

// newKey prepares what calls with the key need each time. perMinute is the gateway's own limit.
func newKey(k apikey.Key, perMinute int, asOf time.Time) *Key {
	c := &Key{Key: k, Owner: k.UserID.String(), Limit: perMinute, asOf: asOf}
	if own := k.RateLimitPerMinute; own > 0 && (perMinute == 0 || own < perMinute) {
		c.Limit = own
	}
	c.LimitText = []string{strconv.Itoa(c.Limit)}
	return c
}

// Fresh reports whether the key is known to have been so at a time or later; any is fresh enough for the zero time.
func (k *Key) Fresh(since time.Time) bool { return since.IsZero() || !k.asOf.Before(since) }

// New returns an empty cache. perMinute is the limit of keys that have no lower one; 0: none.
func New(source ports.KeyLookup, now ports.Clock, perMinute int) *Cache {
	absent, err := lru.New[string, time.Time](absentMost)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &Cache{source: source, now: now, perMinute: perMinute, absent: absent, slots: make(chan struct{}, lookUpMost)}
}

// Known returns the key with a prefix if it is in memory, else nil.
func (c *Cache) Known(prefix string) *Key {
	if k, ok := c.present.Load(prefix); ok {
		return k.(*Key)
	}
	return nil
}

// Find returns the key with a prefix as it was at since or later, from the database if need be. Faults: apikey.ErrNotFound,
// ErrUnavailable.
func (c *Cache) Find(ctx context.Context, prefix string, since time.Time) (*Key, error) {
	if k, err := c.remembered(prefix, since); k != nil || err != nil {
		return k, err
	}
	version := c.versionNow()
	got, err, _ := c.flight.Do(strconv.FormatInt(version, 36)+prefix, func() (any, error) {
		if k, err := c.remembered(prefix, since); k != nil || err != nil { // another look-up has just ended
			return k, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookUpTime) // others wait for it too
		defer cancel()
		return c.read(ctx, prefix, version)
	})
	if err != nil {
		return nil, err
	}
	return got.(*Key), nil
}

// remembered is what is known of a prefix without asking: its key as it was at since or later, apikey.ErrNotFound, or neither.
func (c *Cache) remembered(prefix string, since time.Time) (*Key, error) {
	if k := c.Known(prefix); k != nil && k.Fresh(since) {
		return k, nil
	}
	if until, ok := c.absent.Get(prefix); ok && c.now().Before(until) {
		return nil, apikey.ErrNotFound
	}
	return nil, nil
}

func (c *Cache) versionNow() int64 {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	return c.version
}

// read looks a key up for callers who came while version was the present one.
func (c *Cache) read(ctx context.Context, prefix string, version int64) (*Key, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ErrUnavailable.Because(ctx.Err())
	}
	asOf := c.now()
	k, err := c.source.KeyByPrefix(ctx, prefix)
	unknown := errors.Is(err, apikey.ErrNotFound)
	if err != nil && !unknown {
		return nil, ErrUnavailable.Because(err)
	}
	found := newKey(k, c.perMinute, asOf)
	c.keeping.Lock()
	defer c.keeping.Unlock()
	switch same := c.version == version; {
	case unknown && same:
		c.absent.Add(prefix, asOf.Add(absentFor))
	case same:
		c.present.Store(prefix, found)
	}
	if unknown {
		return nil, apikey.ErrNotFound
	}
	return found, nil // also when something has changed meanwhile: these callers came before
}

// Forget drops keys that have changed, by prefix.
func (c *Cache) Forget(prefixes []string) {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	c.version++
	for _, p := range prefixes {
		c.present.Delete(p)
		c.absent.Remove(p)
	}
}

// ForgetID drops a key by its id.
func (c *Cache) ForgetID(key id.ID) { c.forget(func(k *Key) bool { return k.ID == key }) }

// ForgetOwner drops all keys of a user.
func (c *Cache) ForgetOwner(user id.ID) { c.forget(func(k *Key) bool { return k.UserID == user }) }

// forget looks at every key, which is little beside the change that made it necessary.
func (c *Cache) forget(changed func(*Key) bool) {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	c.version++
	c.present.Range(func(prefix, k any) bool {
		if changed(k.(*Key)) {
			c.present.Delete(prefix)
		}
		return true
	})
}
