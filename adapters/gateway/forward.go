package gateway

import (
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/egress"
	"github.com/CalloraOrg/callora-backend/adapters/gateway/upstream"
	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// newEngine is the way to upstreams, tuned for few of them with many calls each. It follows no redirect, uses no proxy of the
// environment, and leaves bodies as they are. Without a guard it dials every address.
func newEngine(guard *egress.Guard, idle int) *upstream.Transport {
	if idle <= 0 {
		idle = defaultIdle
	}
	dial := (&net.Dialer{Timeout: egress.DialTimeout}).DialContext
	if guard != nil {
		dial = guard.DialContext
	}
	return &upstream.Transport{
		Dial: dial, BodyHasCome: bodyHasCome, MaxHeader: mostHeader, MaxIdle: 4 * idle, MaxIdlePerHost: idle, IdleFor: idleFor, LiveFor: liveFor,
		Other: &http.Transport{
			DialContext: dial, DisableCompression: true, MaxIdleConns: 4 * idle, MaxIdleConnsPerHost: idle,
			IdleConnTimeout: idleFor, TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
			MaxResponseHeaderBytes: mostHeader, WriteBufferSize: 4 << 10, ReadBufferSize: 8 << 10, ForceAttemptHTTP2: true,
			// Many calls share a connection of HTTP/2: one that has died in silence would hold up all that are to come.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second, WriteByteTimeout: 10 * time.Second},
		},
	}
}

// bodyHasCome reports whether a request to an upstream can be sent as a whole. A caller who sends slowly, or waits for an early
// answer, is served by the standard transport, which reads and writes at the same time.
func bodyHasCome(r *http.Request) bool {
	c := callOf(r.Context())
	return c != nil && httpkit.BodyHasCome(c.r)
}

const (
	mostHeader = 1 << 20 // bytes of an upstream's header
	idleFor    = 90 * time.Second
	liveFor    = 5 * time.Minute // after which a connection is replaced, though it is busy: its name may lead elsewhere by now
)

func newProxy(engine http.RoundTripper, zl *zap.Logger) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: engine, ErrorLog: log.New(logWriter{zl}, "", 0),
		Rewrite:        func(pr *httputil.ProxyRequest) { callOf(pr.In.Context()).address(pr.Out) },
		ModifyResponse: func(res *http.Response) error { return callOf(res.Request.Context()).answered(res) },
		ErrorHandler:   func(_ http.ResponseWriter, r *http.Request, err error) { callOf(r.Context()).failed(err) },
	}
}

// serve reserves the price, forwards the call, and charges it on the way back.
func (c *call) serve() {
	if _, asked := c.r.Header[headerIdempotency]; asked {
		if done := c.claimIdempotency(); done {
			return
		}
	}
	if err := c.payment.reserve(c.r.Context(), c.g.deps.Charger, &c.key.Key, c.endpoint.Price); err != nil {
		if c.clientGone() {
			c.leave()
		}
		c.refuse(err)
		return
	}
	running := c.r.Context()
	if c.payment.claim != nil {
		running = c.payment.claim.ctx
	}
	c.watch.start(running, c.g.cfg.ProxyTimeout)
	c.wrapBody()
	c.upstreamAt = c.g.deps.Now()
	proxy := c.g.proxy
	if c.target == c.g.ownAt {
		proxy = c.g.own
	}
	if c.websocket == "" && !c.g.cfg.proxied {
		c.forward(proxy.Transport)
		return
	}
	proxy.ServeHTTP(&c.out, c.r.WithContext((*callContext)(c)))
}

// callContext is the context of a call's way to the upstream. It carries the call to the proxy's callbacks.
type callContext call

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.watch.ctx.Deadline() }

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.watch.ctx.Done() }

// Err implements context.Context.
func (c *callContext) Err() error { return c.watch.ctx.Err() }

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return (*call)(c)
	}
	return c.watch.ctx.Value(key)
}

// address addresses a request to the upstream, and takes from its header what is not for it. Hop-by-hop fields (RFC 9110 7.6.1),
// and those that Connection lists, are gone already.
func (c *call) address(out *http.Request) {
	in := c.r
	// As sent, to the byte: Path would be encoded anew, and httputil.ReverseProxy drops from the query what Go cannot parse.
	*out.URL = url.URL{
		Scheme: c.target.Scheme, Host: c.target.Host, Opaque: c.target.Prefix + c.path.Escaped,
		RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery,
	}
	out.Host = c.target.Host
	out.Trailer = in.Trailer // filled in while the body is read
	if c.trailer = in.Trailer; c.trailer != nil {
		cleanTrailer(c.trailer, c.secret)
	}
	cleanRequest(out.Header, c.secret)
	out.Header[headerID] = c.w.Header()[headerID]
}

// failed ends a call that has no answer, or whose answer could not be charged.
func (c *call) failed(err error) {
	c.cause = err
	switch {
	case c.sent: // an upgrade that failed after its handshake was charged
		panic(http.ErrAbortHandler)
	case errors.Is(err, usage.ErrNotRecorded):
		c.refuse(err)
	case c.claimLost():
		c.refuse(usage.ErrNotRecorded.Because(errClaimLost))
	case c.refuseBody():
	case isTooLarge(err):
		c.refuse(errTooLarge)
	case c.clientGone():
		c.leave()
	case c.watch.expired() || isTimeout(err):
		c.g.metrics.upstreamFailed(c, "timeout")
		c.refuse(errSlowUpstream.Because(err))
	case egress.Blocked(err):
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

// logWriter takes what the proxy has to say, e.g. that a copy was cut.
type logWriter struct{ log *zap.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug("proxy", zap.ByteString("message", p))
	return len(p), nil
}
