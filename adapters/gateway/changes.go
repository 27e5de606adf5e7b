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
	changed := &changedAPIs{some: make(chan struct{}, 1)}
	following, stop := context.WithCancel(ctx)
	var routes sync.WaitGroup
	routes.Go(func() {
		select {
		case <-started: // from here on no change is missed
			g.keepRoutes(following, changed)
		case <-following.Done():
		}
	})
	err := g.deps.Changes.Follow(following, started, func(changes []ports.Change) { g.apply(changes, changed) })
	stop()
	routes.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow changes: %w", err)
	}
	return nil
}

// apply takes changes in. Keys are dropped at once; APIs are read anew elsewhere, so that a slow or broken one does not keep
// a revoked key alive.
func (g *Gateway) apply(changes []ports.Change, changed *changedAPIs) {
	var prefixes []string
	var apis []id.ID
	for _, c := range changes {
		switch c.Kind {
		case ports.ChangedKey:
			prefixes = append(prefixes, c.Subject)
		case ports.ChangedAPI:
			if u, err := id.Parse(c.Subject); err == nil {
				apis = append(apis, u)
			}
		}
	}
	if len(prefixes) > 0 {
		g.keys.Forget(prefixes)
	}
	changed.add(apis)
}

// keepRoutes is the only writer of the table. What cannot be read is tried again until it can, so that no stale price stays.
func (g *Gateway) keepRoutes(ctx context.Context, changed *changedAPIs) {
	for ctx.Err() == nil && !g.table.Loaded() {
		reading, cancel := context.WithTimeout(ctx, loadTime)
		err := g.table.Load(reading)
		cancel()
		if err != nil {
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
		if err != nil {
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
