package gateway

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	loadTime    = 30 * time.Second
	retryPause  = 500 * time.Millisecond
	reloadPause = 200 * time.Millisecond
)

// Run loads the routes and follows what changes, until ctx ends. The gateway refuses calls until the routes are there.
func (g *Gateway) Run(ctx context.Context) error {
	started := make(chan struct{})
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		select {
		case <-started: // from here on no change is missed
			g.loadRoutes(ctx)
		case <-ctx.Done():
		}
	}()
	err := g.deps.Changes.Follow(ctx, started, func(changes []ports.Change) { g.apply(ctx, changes) })
	<-loaded
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow changes: %w", err)
	}
	return nil
}

func (g *Gateway) loadRoutes(ctx context.Context) {
	for ctx.Err() == nil {
		loading, cancel := context.WithTimeout(ctx, loadTime)
		err := g.table.load(loading)
		cancel()
		if err == nil {
			return
		}
		g.deps.Log.Error("the routes could not be loaded; trying again", zap.Error(err))
		wait(ctx, retryPause)
	}
}

// apply takes changes in. Keys are dropped at once; APIs are read anew until that succeeds, so that no stale price stays.
func (g *Gateway) apply(ctx context.Context, changes []ports.Change) {
	var prefixes []string
	apis := map[id.ID]struct{}{}
	for _, c := range changes {
		switch c.Kind {
		case ports.ChangedKey:
			prefixes = append(prefixes, c.Subject)
		case ports.ChangedAPI:
			if u, err := id.Parse(c.Subject); err == nil {
				apis[u] = struct{}{}
			}
		}
	}
	if len(prefixes) > 0 {
		g.keys.forget(prefixes)
	}
	if len(apis) == 0 {
		return
	}
	list := make([]id.ID, 0, len(apis))
	for u := range apis {
		list = append(list, u)
	}
	for ctx.Err() == nil {
		reading, cancel := context.WithTimeout(ctx, loadTime)
		err := g.table.reload(reading, list)
		cancel()
		if err == nil {
			return
		}
		g.deps.Log.Error("changed APIs could not be read; trying again", zap.Error(err), zap.Int("apis", len(list)))
		wait(ctx, reloadPause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
