package shared

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"github.com/valkey-io/valkey-go"
	"go.uber.org/zap"
)

const (
	beatEvery = time.Second
	beatsFor  = 5 * time.Second // who has not been heard of for this long counts no more

	leastPause = 250 * time.Millisecond // between two attempts to reach the store
	mostPause  = 4 * time.Second
	goodAfter  = 10 * time.Second // a connection that lasted this long was a good one
)

// Run keeps up the connection to the store until ctx ends. No call ever waits for the store to come back.
func (l *Limiter) Run(ctx context.Context) {
	defer l.meters.up.Set(0)
	pause, silent := leastPause, false // silent: the log has been told that the store is away
	for {
		began := time.Now()
		k, err := l.enter(ctx)
		if err == nil {
			l.link.Store(k) // before anybody is told to go on
			l.meters.up.Set(1)
		}
		l.tried.Do(func() { close(l.ready) })
		if err == nil {
			silent = false
			err = l.serve(ctx, k)
		}
		if ctx.Err() != nil {
			return
		}
		if !silent {
			silent = true
			l.cfg.Log.Warn("the rate limits' store is away: until it is back, this node admits its share of each limit",
				zap.Stringer("store", l.cfg.Store), zap.Int64("nodes", l.nodes.Load()), zap.Error(err))
		}
		if time.Since(began) > goodAfter {
			pause = leastPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, mostPause)
	}
}

// Ready is closed when Run has tried to reach the store once, whatever came of it.
func (l *Limiter) Ready() <-chan struct{} { return l.ready }

// enter connects, and makes this node known. The store has then shown that it lets us write.
func (l *Limiter) enter(ctx context.Context) (*link, error) {
	k, err := connect(ctx, l.cfg.Store, cmp.Or(l.cfg.ConnectTimeout, connectTimeout))
	if err != nil {
		return nil, err
	}
	if err := l.beat(k); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// serve lets calls use the connection until it is given up, and returns why; nil when ctx has ended.
func (l *Limiter) serve(ctx context.Context, k *link) error {
	l.cfg.Log.Info("rate limits are shared through the store", zap.Stringer("store", l.cfg.Store), zap.Int64("nodes", l.nodes.Load()))
	defer func() {
		l.link.Store(nil)
		l.meters.up.Set(0)
		k.close()
	}()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.leave(k)
			return nil
		case err := <-k.lost:
			return err
		case <-tick.C:
			_ = l.beat(k) // failures are counted, as those of calls
		}
	}
}

// beat says that this node is alive, and learns how many are.
func (l *Limiter) beat(k *link) error {
	return k.do(l.cfg.Timeout, func(ctx context.Context, c valkey.Client) error {
		n, err := beatScript.Exec(ctx, c, []string{l.cfg.Prefix + "nodes"}, []string{l.cfg.Node, text(int64(beatsFor / time.Second))}).AsInt64()
		if err == nil {
			l.count(n)
		}
		return err
	})
}

// leave makes the others' shares larger at once.
func (l *Limiter) leave(k *link) {
	_ = k.do(l.cfg.Timeout, func(ctx context.Context, c valkey.Client) error {
		return c.Do(ctx, c.B().Zrem().Key(l.cfg.Prefix+"nodes").Member(l.cfg.Node).Build()).Error()
	})
}
