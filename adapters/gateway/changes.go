package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	loadTime   = 30 * time.Second
	retryPause = 300 * time.Millisecond
)

// Run loads the routes and follows what changes, until ctx ends. The gateway refuses calls until the routes are there.
func (g *Gateway) Run(ctx context.Context) error {
	started := make(chan struct{})
	following, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { g.watchTunnels(following) })
	background.Go(func() {
		select {
		case <-started: // from here on no change is missed
			g.keepRoutes(following)
		case <-following.Done():
		}
	})
	err := g.deps.Changes.Follow(following, started, func(changes []ports.Change, asOf time.Time) {
		g.apply(changes)
		g.looked.Store(&asOf)
	})
	stop()
	background.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow changes: %w", err)
	}
	return nil
}

// apply takes changes in. Keys are dropped at once; APIs are read anew elsewhere, so that a slow or broken one does not keep
// a revoked key alive.
func (g *Gateway) apply(changes []ports.Change) {
	var prefixes []string
	var apis []id.ID
	for _, c := range changes {
		switch c.Kind {
		case ports.ChangedKey:
			prefixes = append(prefixes, c.Subject)
		case ports.ChangedOwner:
			if u, err := id.Parse(c.Subject); err == nil {
				g.keys.ForgetOwner(u)
			}
		case ports.ChangedAPI:
			if u, err := id.Parse(c.Subject); err == nil {
				apis = append(apis, u)
			}
		}
	}
	if len(prefixes) > 0 {
		g.keys.Forget(prefixes)
	}
	if len(apis) > 0 {
		g.table.Changed(apis)
		g.changed.add(apis)
	}
}

// since is how fresh what is in memory must be for a call at now. While the change feed looks and all is well, anything will do:
// what has changed is not in memory any more. When the last good look is too long ago, keys and APIs are read again.
func (g *Gateway) since(now time.Time) time.Time {
	if looked := g.looked.Load(); looked != nil && now.Sub(*looked) <= g.cfg.StaleAfter {
		return time.Time{}
	}
	return now.Add(-g.cfg.StaleAfter)
}

// ForgetKey implements ports.Invalidator.
func (g *Gateway) ForgetKey(key id.ID) { g.keys.ForgetID(key) }

// ForgetAPI implements ports.Invalidator.
func (g *Gateway) ForgetAPI(api id.ID) { g.table.Forget(api) }

var _ ports.Invalidator = (*Gateway)(nil)

// keepRoutes reads APIs anew that have changed. What cannot be read is tried again until it can, so that no stale price stays.
func (g *Gateway) keepRoutes(ctx context.Context) {
	changed := g.changed
	for ctx.Err() == nil && !g.table.Loaded() {
		reading, cancel := context.WithTimeout(ctx, loadTime)
		err := g.table.Load(reading)
		cancel()
		if err != nil && ctx.Err() == nil {
			g.deps.Log.Error("the routes could not be loaded; trying again", zap.Error(err))
			wait(ctx, retryPause)
		}
	}
	for {
		select {
		case <-changed.some:
		case <-ctx.Done():
			return
		}
		reading, cancel := context.WithTimeout(ctx, loadTime)
		failed, err := g.table.Reload(reading, changed.take())
		cancel()
		if err != nil && ctx.Err() == nil {
			g.deps.Log.Error("changed APIs could not be read; trying again", zap.Error(err), zap.Int("apis", len(failed)))
			wait(ctx, retryPause)
			changed.add(failed)
		}
	}
}

// changedAPIs are the APIs that have to be read anew.
type changedAPIs struct {
	mu   sync.Mutex
	set  map[id.ID]struct{}
	some chan struct{} // holds a value when the set is not empty
}

func (c *changedAPIs) add(apis []id.ID) {
	if len(apis) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set == nil {
		c.set = map[id.ID]struct{}{}
	}
	for _, u := range apis {
		c.set[u] = struct{}{}
	}
	select {
	case c.some <- struct{}{}:
	default:
	}
}

func (c *changedAPIs) take() []id.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	apis := make([]id.ID, 0, len(c.set))
	for u := range c.set {
		apis = append(apis, u)
	}
	c.set = nil
	return apis
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
