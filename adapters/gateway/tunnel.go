package gateway

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
)

const (
	tunnelLinger = 10 * time.Second // PROXY_TIMEOUT when that is less
	tunnelCheck  = time.Second
	tunnelTrust  = time.Minute // without news of the key
)

// answerTunnel charges a WebSocket at its handshake: nothing after it says whether the call succeeded.
func (c *call) answerTunnel(res *http.Response) error {
	upstream, ok := res.Body.(io.ReadWriteCloser)
	if !ok || !c.acceptsWebSocket(res.Header) {
		return errNoHandshake
	}
	if err := c.charge(res.StatusCode, nil); err != nil {
		return err
	}
	res.Header[headerCharge] = c.payment.amount(c.endpoint.Charge)
	c.begin(res.StatusCode)
	c.watch.disarm()
	c.tunnel = &tunnel{
		ReadWriteCloser: upstream, cancel: c.watch.cancel, caller: http.NewResponseController(c.w),
		linger: min(tunnelLinger, c.g.cfg.ProxyTimeout), checked: c.g.deps.Now(),
	}
	res.Body = c.tunnel
	c.g.tunnels.add(c)
	return nil
}

// tunnel is the upstream's connection of a WebSocket. The proxy copies to it what the caller sends, and from it to the caller.
type tunnel struct {
	io.ReadWriteCloser
	cancel  context.CancelFunc // makes the proxy close the upstream's connection
	caller  *http.ResponseController
	linger  time.Duration // how long one side may be silent when the other has gone
	checked time.Time     // when the call was last known to be allowed

	mu     sync.Mutex
	silent *time.Timer // runs once one side has gone
	cause  error       // why we have ended it, nil when we have not
}

var (
	errNoHandshake = errors.New("the upstream switched protocols without the answer to a WebSocket handshake")
	errHalfGone    = errors.New("one side of the WebSocket had gone and the other was silent")
	errShutdown    = errors.New("the WebSocket was closed at shutdown")
)

// Read implements io.Reader for what the upstream sends.
func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.moved()
	if err != nil {
		t.halfGone()
	}
	return n, err
}

// Write implements io.Writer for what the caller sends.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Write(p)
	t.moved()
	return n, err
}

// CloseWrite tells the upstream that the caller sends no more.
func (t *tunnel) CloseWrite() error {
	t.halfGone()
	if half, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

func (t *tunnel) moved() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.silent != nil && t.silent.Stop() {
		t.silent.Reset(t.linger)
	}
}

func (t *tunnel) halfGone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.silent == nil {
		t.silent = time.AfterFunc(t.linger, func() { t.end(errHalfGone) })
	}
}

// end closes both sides, whatever they are at.
func (t *tunnel) end(cause error) {
	t.mu.Lock()
	if t.cause == nil {
		t.cause = cause
	}
	t.mu.Unlock()
	t.cancel()
	past := time.Unix(1, 0)
	_, _ = t.caller.SetReadDeadline(past), t.caller.SetWriteDeadline(past) // it is being closed
}

// ended stops the clock of a tunnel that is over, and returns why we have ended it.
func (t *tunnel) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.silent != nil {
		t.silent.Stop()
	}
	return t.cause
}

// tunnels are the upgraded connections. An HTTP server forgets them when they are hijacked.
type tunnels struct {
	mu   sync.Mutex
	open map[*call]struct{}
	idle chan struct{} // closed when a drain finds none left
}

func (t *tunnels) add(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[*call]struct{}{}
	}
	t.open[c] = struct{}{}
}

func (t *tunnels) remove(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
	if t.idle != nil && len(t.open) == 0 {
		close(t.idle)
		t.idle = nil
	}
}

func (t *tunnels) drain(ctx context.Context) {
	t.mu.Lock()
	if len(t.open) == 0 {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return
	case <-ctx.Done():
	}
	for _, c := range t.all() {
		c.tunnel.end(errShutdown)
	}
	<-idle
}

func (t *tunnels) all() []*call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.open))
}

// watchTunnels ends tunnels whose calls would be refused by now, about a second after.
func (g *Gateway) watchTunnels(ctx context.Context) {
	tick := time.NewTicker(tunnelCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, c := range g.tunnels.all() {
			if err := c.stillAllowed(ctx); err != nil {
				c.tunnel.end(err)
			}
		}
	}
}

// stillAllowed reports why a call that goes on would be refused by now: its key has ended or lost the scope, what it bought is
// no longer sold, or the vault is stopped. While keys and APIs cannot be read that is not known, for a minute at most.
func (c *call) stillAllowed(ctx context.Context) error {
	now := c.g.deps.Now()
	err := c.refusedAt(ctx, now)
	switch {
	case err == nil:
		c.tunnel.checked = now
	case fault.KindOf(err) == fault.Unavailable && now.Sub(c.tunnel.checked) <= tunnelTrust:
		return nil
	}
	return err
}

func (c *call) refusedAt(ctx context.Context, now time.Time) error {
	since := c.g.since(now)
	k, err := c.g.keys.Find(ctx, c.key.Prefix, since)
	switch {
	case errors.Is(err, apikey.ErrNotFound), err == nil && (k.ID != c.key.ID || k.Ended(now)), c.key.Ended(now):
		return errRevokedKey
	case err != nil:
		return err
	case !k.Allows(c.r.Method, c.endpoint.Path):
		return errScope
	}
	route, err := c.g.table.LookUp(ctx, c.route.ID, since)
	if err != nil {
		return err
	}
	endpoint, sold := route.Endpoint(c.r.Method, c.path)
	if c.legacy {
		endpoint, sold = route.CatchAll(c.r.Method)
	}
	if !sold {
		return errNoEndpoint
	}
	return mayPay(&k.Key, endpoint.Price)
}
