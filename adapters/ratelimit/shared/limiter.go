package shared

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valkey-io/valkey-go"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/ratelimit"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Config is what a Limiter works with. Registry may be nil.
type Config struct {
	Store    Store
	Prefix   string        // of all keys: deployments that share a store need different ones
	Node     string        // this process, unlike all others
	Timeout  time.Duration // the longest a call waits for the store
	Now      ports.Clock   // of what this node counts by itself
	Log      *zap.Logger
	Registry prometheus.Registerer

	ConnectTimeout time.Duration // to connect, and again to sign in; 0: a second
}

// Limiter implements ports.Limiter for all nodes together, while Run runs and the store answers; otherwise for this node alone,
// by its share of each limit. When it changes between the two a key starts afresh, so that around such a moment it may get up to twice
// its limit.
type Limiter struct {
	cfg    Config
	own    *ratelimit.Limiter
	link   atomic.Pointer[link] // nil: the store is away
	nodes  atomic.Int64         // as the store last told
	meters *meters
	tried  sync.Once
	ready  chan struct{}
}

// New returns a limiter that counts in memory until Run has found the store.
func New(cfg Config) *Limiter {
	l := &Limiter{cfg: cfg, own: ratelimit.New(cfg.Now), meters: newMeters(cfg.Registry), ready: make(chan struct{})}
	l.count(1)
	return l
}

// Take implements ports.Limiter. It takes no longer than the time-out.
func (l *Limiter) Take(key string, limit int, window time.Duration) ports.Decision {
	if limit <= 0 || window <= 0 {
		return l.own.Take(key, limit, window)
	}
	p := paceOf(limit, window)
	var d ports.Decision
	err := l.ask(func(ctx context.Context, c valkey.Client) (err error) {
		d, err = p.decision(limit, takeScript.Exec(ctx, c, l.key(key), p.takeArgs()))
		return err
	})
	if err != nil {
		l.meters.fallback.Inc()
		d = l.own.Take(key, l.share(limit), window)
		d.Limit = limit // the key's, whoever counts
	}
	return d
}

// Return implements ports.Limiter.
func (l *Limiter) Return(key string, limit int, window time.Duration) {
	if limit <= 0 || window <= 0 {
		return
	}
	err := l.ask(func(ctx context.Context, c valkey.Client) error {
		return returnScript.Exec(ctx, c, l.key(key), []string{text(paceOf(limit, window).step)}).Error()
	})
	if err != nil {
		l.own.Return(key, l.share(limit), window)
	}
}

// Up is an error while the store is away.
func (l *Limiter) Up() error {
	if k := l.link.Load(); k == nil || k.over.Load() {
		return errAway
	}
	return nil
}

func (l *Limiter) ask(question func(context.Context, valkey.Client) error) error {
	k := l.link.Load()
	if k == nil || k.over.Load() {
		return errAway
	}
	began := time.Now()
	err := k.do(l.cfg.Timeout, question)
	l.meters.asked(time.Since(began), err)
	return err
}

func (l *Limiter) key(key string) []string { return []string{l.cfg.Prefix + "limit:" + key} }

// share is this node's part of a limit, rounded up.
func (l *Limiter) share(limit int) int {
	n := int(l.nodes.Load())
	return (limit-1)/n + 1
}

func (l *Limiter) count(nodes int64) {
	l.nodes.Store(max(nodes, 1))
	l.meters.nodes.Set(float64(max(nodes, 1)))
}
