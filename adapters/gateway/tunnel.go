package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// answerTunnel charges an upgraded connection (WebSocket) at its handshake: nothing after it says whether the call succeeded.
func (c *call) answerTunnel(res *http.Response) error {
	if asked, got := res.Request.Header.Get("Upgrade"), res.Header.Get("Upgrade"); asked == "" || !strings.EqualFold(asked, got) {
		return fmt.Errorf("the upstream switched to the protocol %q when %q was asked for", got, asked) // the proxy would refuse it after the charge
	}
	if err := c.charge(res.StatusCode, nil); err != nil {
		return err
	}
	res.Header[headerCharge] = c.payment.amount(c.endpoint.Charge)
	c.begin(res.StatusCode)
	c.watch.disarm()
	c.g.tunnels.add(c)
	return nil
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
	t.mu.Lock()
	for c := range t.open {
		c.watch.cancel()
	}
	t.mu.Unlock()
	<-idle
}
