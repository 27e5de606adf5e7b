package gateway

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// newEngine is the standard transport, tuned for few upstreams with many calls each. It follows no redirect, uses no
// proxy of the environment, and leaves bodies as they are.
func newEngine(guard *Guard, idle int) *http.Transport {
	if idle <= 0 {
		idle = defaultIdle
	}
	return &http.Transport{
		DialContext: guard.DialContext, DisableCompression: true, MaxIdleConns: 4 * idle, MaxIdleConnsPerHost: idle,
		IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
		MaxResponseHeaderBytes: 1 << 20, WriteBufferSize: 4 << 10, ReadBufferSize: 8 << 10,
	}
}

func (g *Gateway) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: g.cfg.Engine, BufferPool: buffers, Rewrite: rewrite, ModifyResponse: answered, ErrorHandler: failed,
		ErrorLog: log.New(logWriter{g.deps.Log}, "", 0),
	}
}

// serve reserves the price, forwards the call, and charges it on the way back.
func (c *call) serve() {
	if c.r.Header.Get(headerOnce) != "" {
		if done := c.claimOnce(); done {
			return
		}
	}
	price := c.endpoint.Price
	if c.free {
		price = money.Amount{}
	}
	hold, err := c.g.deps.Till.Reserve(c.r.Context(), c.key.UserID, price)
	if err != nil {
		if c.clientGone() {
			c.status = statusClientGone
			return
		}
		c.refuse(err)
		return
	}
	c.hold = hold
	c.watch = newWatchdog(c.r.Context(), c.g.cfg.ProxyTimeout)
	c.wrapBody()
	c.upstreamAt = c.g.deps.Now()
	c.g.proxy.ServeHTTP(c.w, c.r.WithContext(callContext{c.watch.ctx, c}))
}

// callContext carries the call to the proxy's callbacks, in one allocation.
type callContext struct {
	context.Context
	call *call
}

func (c callContext) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c.call
	}
	return c.Context.Value(key)
}

// rewrite addresses the call to the upstream. The proxy has already dropped hop-by-hop headers (RFC 9110 7.6.1), those
// that Connection lists, and X-Forwarded-*.
func rewrite(pr *httputil.ProxyRequest) {
	c := callOf(pr.In.Context())
	out := pr.Out
	escaped := c.target.prefix + c.path.Escaped
	out.URL.Scheme, out.URL.Host, out.Host = c.target.scheme, c.target.host, c.target.host
	if plain, err := url.PathUnescape(escaped); err == nil { // both parts were checked before
		out.URL.Path, out.URL.RawPath = plain, escaped
	}
	out.URL.RawQuery, out.URL.ForceQuery = pr.In.URL.RawQuery, pr.In.URL.ForceQuery // as sent: the proxy drops what Go cannot parse
	stripCredentials(out.Header)
	out.Header[headerID] = []string{c.requestID}
}

// failed ends a call that has no answer, or whose answer could not be charged.
func failed(_ http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r.Context())
	c.cause = err
	switch {
	case errors.Is(err, usage.ErrNotRecorded):
		c.refuse(err)
	case isTooLarge(err), c.body != nil && isTooLarge(c.body.failure()):
		c.refuse(errTooLarge)
	case c.clientGone(), c.body != nil && c.body.failure() != nil:
		c.status = statusClientGone
		panic(http.ErrAbortHandler)
	case c.watch.barked() || isTimeout(err):
		c.g.metrics.upstreamFailed(c, "timeout")
		c.refuse(errSlowUpstream.Because(err))
	case blocked(err):
		c.g.metrics.upstreamFailed(c, "blocked")
		c.refuse(errBlocked.Because(err))
	default:
		c.g.metrics.upstreamFailed(c, "error")
		c.refuse(errBadUpstream.Because(err))
	}
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*http.MaxBytesError](err)
	return ok
}

// buffers are what bodies are copied through.
var buffers = &bufferPool{sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}}

const copySize = 32 << 10

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// logWriter takes what the proxy has to say, e.g. that a copy was cut.
type logWriter struct{ log *zap.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug("proxy", zap.ByteString("message", p))
	return len(p), nil
}
