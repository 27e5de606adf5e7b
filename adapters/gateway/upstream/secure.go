package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// sessions is how many upstreams' TLS sessions are kept, to be resumed.
const sessions = 1024

// prepare makes the TLS configuration of our own connections, that of Other with the protocols that we can go on with. It comes
// before Other is used: that changes its own.
func (t *Transport) prepare() {
	t.prepared.Do(func() {
		c := &tls.Config{}
		if t.Other.TLSClientConfig != nil {
			c = t.Other.TLSClientConfig.Clone()
		}
		c.NextProtos = []string{"http/1.1"}
		if t.Other.ForceAttemptHTTP2 {
			c.NextProtos = []string{"h2", "http/1.1"}
		}
		if c.ClientSessionCache == nil {
			c.ClientSessionCache = tls.NewLRUClientSessionCache(sessions)
		}
		c.Renegotiation = tls.RenegotiateNever
		c.DynamicRecordSizingDisabled = true // a request is one record, not one for each packet
		t.tls = c
	})
}

// secure makes a connection one over TLS to the upstream that a URL names, whatever name the request's Host has. It is errHTTP2 when
// the upstream prefers that: the connection is closed, and the preference remembered.
func (t *Transport) secure(ctx context.Context, to origin, s *socket) (*tls.Conn, error) {
	t.prepare()
	config := t.tls.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(to.address)
	}
	if t.Other.TLSHandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.Other.TLSHandshakeTimeout, errSlowHandshake)
		defer cancel()
	}
	c := tls.Client(s, config)
	err := c.HandshakeContext(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && c.ConnectionState().NegotiatedProtocol == "h2":
		t.http2.add(to, time.Now())
		err = errHTTP2
	}
	if err != nil {
		_ = s.Close() // nothing has been said on it
		return nil, fmt.Errorf("TLS handshake with %s: %w", to.address, err)
	}
	return c, nil
}

// slowHandshake is a time-out to whoever asks for a net.Error, as the standard transport's is.
type slowHandshake struct{}

func (slowHandshake) Error() string   { return "it took too long" }
func (slowHandshake) Timeout() bool   { return true }
func (slowHandshake) Temporary() bool { return true }

var (
	errSlowHandshake net.Error = slowHandshake{}
	errHTTP2                   = errors.New("the upstream prefers HTTP/2")
)

// preferences remember which upstreams prefer HTTP/2, so that they are asked once.
type preferences struct {
	mu    sync.Mutex
	until map[origin]time.Time
}

const (
	mostPreferences = 1024
	preferredFor    = 10 * time.Minute // after it was last seen
)

func (p *preferences) has(o origin, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until[o])
}

func (p *preferences) add(o origin, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, has := p.until[o]; !has && len(p.until) >= mostPreferences {
		for other := range p.until { // any: it will be asked again
			delete(p.until, other)
			break
		}
	}
	if p.until == nil {
		p.until = map[origin]time.Time{}
	}
	p.until[o] = now.Add(preferredFor)
}

func (p *preferences) remove(o origin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.until, o)
}
