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
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	absentMost = 100_000         // prefixes remembered as unknown, so that guessing costs little
	absentFor  = 5 * time.Second // a key made elsewhere works at the latest after this, also when news of it is lost
	lookUpTime = 3 * time.Second
)

// ErrUnavailable means that keys cannot be looked up.
var ErrUnavailable = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: API keys cannot be checked at present")

// Cache holds the keys that were used, until the change feed says that one has changed.
type Cache struct {
	source    ports.KeyLookup
	now       ports.Clock
	perMinute int
	present   sync.Map                      // prefix -> *Key
	absent    *lru.Cache[string, time.Time] // prefix -> until when it is taken for unknown
	flight    singleflight.Group
	version   atomic.Int64 // grows with each invalidation: what was read before one is not kept
}

// Key is a key with what its calls need each time, made once.
type Key struct {
	apikey.Key
	Owner     string       // UserID
	Limit     int          // calls per minute, the key's own or the gateway's; 0: no limit
	LimitText []string     // X-RateLimit-Limit
	used      atomic.Int64 // unix minute of the last use that has been noted
}

// newKey prepares what calls with the key need each time. perMinute is the gateway's own limit.
func newKey(k apikey.Key, perMinute int) *Key {
	c := &Key{Key: k, Owner: k.UserID.String(), Limit: perMinute}
	if own := k.RateLimitPerMinute; own > 0 && (perMinute == 0 || own < perMinute) {
		c.Limit = own
	}
	c.LimitText = []string{strconv.Itoa(c.Limit)}
	return c
}

// New returns an empty cache. perMinute is the limit of keys that have no lower one; 0: none.
func New(source ports.KeyLookup, now ports.Clock, perMinute int) *Cache {
	absent, err := lru.New[string, time.Time](absentMost)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &Cache{source: source, now: now, perMinute: perMinute, absent: absent}
}

// Known returns the key with a prefix if it is in memory, else nil.
func (c *Cache) Known(prefix string) *Key {
	if k, ok := c.present.Load(prefix); ok {
		return k.(*Key)
	}
	return nil
}

// Find returns the key with a prefix, from the database if need be. Faults: apikey.ErrNotFound, ErrUnavailable.
func (c *Cache) Find(ctx context.Context, prefix string) (*Key, error) {
	if k := c.Known(prefix); k != nil {
		return k, nil
	}
	if until, ok := c.absent.Get(prefix); ok && c.now().Before(until) {
		return nil, apikey.ErrNotFound
	}
	got, err, _ := c.flight.Do(prefix, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookUpTime) // others wait for it too
		defer cancel()
		return c.read(ctx, prefix)
	})
	if err != nil {
		return nil, err
	}
	return got.(*Key), nil
}

func (c *Cache) read(ctx context.Context, prefix string) (*Key, error) {
	version := c.version.Load()
	k, err := c.source.KeyByPrefix(ctx, prefix)
	switch {
	case errors.Is(err, apikey.ErrNotFound):
		c.absent.Add(prefix, c.now().Add(absentFor))
		if c.version.Load() != version {
			c.absent.Remove(prefix)
		}
		return nil, apikey.ErrNotFound
	case err != nil:
		return nil, ErrUnavailable.Because(err)
	}
	found := newKey(k, c.perMinute)
	c.present.Store(prefix, found)
	if c.version.Load() != version { // it may have changed while it was read: serve this call, keep nothing
		c.present.CompareAndDelete(prefix, found)
	}
	return found, nil
}

// Forget drops keys that have changed.
func (c *Cache) Forget(prefixes []string) {
	c.version.Add(1)
	for _, p := range prefixes {
		c.present.Delete(p)
		c.absent.Remove(p)
		c.flight.Forget(p)
	}
}
