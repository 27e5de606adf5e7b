package gateway

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
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	absentMost = 100_000         // prefixes remembered as unknown, so that guessing costs little
	absentFor  = 5 * time.Second // a key made elsewhere works at the latest after this, also when news of it is lost
	lookUpTime = 3 * time.Second
)

// keyCache holds the keys that were used, until the change feed says that one has changed.
type keyCache struct {
	source    ports.KeyLookup
	now       ports.Clock
	perMinute int
	present   sync.Map                      // prefix -> *cachedKey
	absent    *lru.Cache[string, time.Time] // prefix -> until when it is taken for unknown
	flight    singleflight.Group
	version   atomic.Int64 // grows with each invalidation: what was read before one is not kept
}

type cachedKey struct {
	apikey.Key
	owner     string       // UserID
	limit     int          // calls per minute, the key's own or the gateway's; 0: no limit
	limitText []string     // X-RateLimit-Limit
	used      atomic.Int64 // unix minute of the last use that has been noted
}

// newCachedKey prepares what calls with the key need each time. perMinute is the gateway's own limit.
func newCachedKey(k apikey.Key, perMinute int) *cachedKey {
	c := &cachedKey{Key: k, owner: k.UserID.String(), limit: perMinute}
	if own := k.RateLimitPerMinute; own > 0 && (perMinute == 0 || own < perMinute) {
		c.limit = own
	}
	c.limitText = []string{strconv.Itoa(c.limit)}
	return c
}

func newKeyCache(source ports.KeyLookup, now ports.Clock, perMinute int) *keyCache {
	absent, err := lru.New[string, time.Time](absentMost)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &keyCache{source: source, now: now, perMinute: perMinute, absent: absent}
}

// find returns the key with a prefix. Faults: apikey.ErrNotFound, errNoKeyStore.
func (c *keyCache) find(ctx context.Context, prefix string) (*cachedKey, error) {
	if k, ok := c.present.Load(prefix); ok {
		return k.(*cachedKey), nil
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
	return got.(*cachedKey), nil
}

func (c *keyCache) read(ctx context.Context, prefix string) (*cachedKey, error) {
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
		return nil, errNoKeyStore.Because(err)
	}
	found := newCachedKey(k, c.perMinute)
	c.present.Store(prefix, found)
	if c.version.Load() != version { // it may have changed while it was read: serve this call, keep nothing
		c.present.CompareAndDelete(prefix, found)
	}
	return found, nil
}

// forget drops keys that have changed.
func (c *keyCache) forget(prefixes []string) {
	c.version.Add(1)
	for _, p := range prefixes {
		c.present.Delete(p)
		c.absent.Remove(p)
		c.flight.Forget(p)
	}
}

// usedKeys collects the minutes in which keys were used.
type usedKeys struct {
	mu   sync.Mutex
	last map[id.ID]time.Time
}

// mark notes a use; it takes the lock once a minute for a key.
func (u *usedKeys) mark(k *cachedKey, now time.Time) {
	minute := now.Unix() / 60
	if seen := k.used.Load(); seen == minute || !k.used.CompareAndSwap(seen, minute) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[id.ID]time.Time{}
	}
	u.last[k.ID] = now
}

func (u *usedKeys) take() map[id.ID]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	last := u.last
	u.last = nil
	return last
}

// putBack keeps what could not be reported, unless there is newer news.
func (u *usedKeys) putBack(last map[id.ID]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = last
		return
	}
	for k, at := range last {
		if u.last[k].Before(at) {
			u.last[k] = at
		}
	}
}
