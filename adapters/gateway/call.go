package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/gateway/keys"
	"github.com/CalloraOrg/callora-backend/adapters/gateway/routes"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// call is one call on its way through the gateway.
type call struct {
	g     *Gateway
	w     http.ResponseWriter // for its header; what is sent goes by out
	out   out
	r     *http.Request
	start time.Time

	since     time.Time // how fresh its key and its API must be, see Gateway.since
	requestID string
	secret    string // the text of the key
	key       *keys.Key
	trailer   http.Header // the request's, filled while its body is read; nil when none is announced
	route     *routes.API
	endpoint  *routes.Endpoint
	path      listing.Path
	target    *routes.Target
	legacy    bool
	websocket string  // the Sec-WebSocket-Key of a call that asks for a WebSocket
	tunnel    *tunnel // set once it is one
	payment   payment
	sentBody  io.Reader    // the body as the server gave it
	body      *requestBody // nil until it is forwarded
	wantSum   []byte       // what the request's body must hash to; nil: anything
	watch     watchdog
	interims  interims
	trace     httptrace.ClientTrace // of the way to the upstream

	status     int
	aborted    bool // the answer is cut
	sent       bool // the answer's header is on its way: no envelope can follow
	upstream   time.Duration
	upstreamAt time.Time
	refusal    string // why it was refused, by reasonOf
	cause      error  // for the log
}

const statusClientGone = 499

// callKey finds the call in a request's context.
type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// name gives the call the id of its charge. It is also what caller, upstream and log know the call by.
func (c *call) name(event id.ID) {
	c.payment.event, c.requestID = event, event.String()
	c.w.Header()[headerID] = []string{c.requestID}
}

// charge records the call, after its answer is stored when it is to be kept. On an error it is not charged, and no complete
// answer may be given.
func (c *call) charge(status int, answer *usage.IdempotentAnswer) error {
	var err error
	if c.payment.claim != nil {
		err = c.keepAnswer(answer)
	}
	if err == nil {
		err = c.payment.charge(c.r.Context(), usage.Event{
			ID: c.payment.event, UserID: c.key.UserID, APIID: c.route.ID, EndpointID: c.endpoint.ID, KeyID: c.key.ID, Status: status,
			Latency: c.upstream, OccurredAt: c.payment.event.Time(),
		})
	}
	if err != nil {
		c.cause = err
		return err
	}
	if c.payment.claim != nil {
		c.g.claims.end(c.payment.claim)
	}
	return nil
}

// release gives the money back, and the Idempotency-Key too.
func (c *call) release() {
	if claim := c.payment.release(); claim != nil {
		c.giveUp(claim)
	}
}

// claimLost reports whether the call has been cut because another may take its Idempotency-Key over.
func (c *call) claimLost() bool { return c.payment.claim != nil && c.payment.claim.lost.Load() }

// clientGone reports whether the caller has left.
func (c *call) clientGone() bool { return c.r.Context().Err() != nil }

// leave ends a call whose caller has left: there is nobody to answer. It does not return.
func (c *call) leave() {
	c.status = statusClientGone
	panic(http.ErrAbortHandler)
}

// finish ends the call whatever happened to it, and writes its line.
func (c *call) finish() {
	c.watch.stop()
	c.release()
	took := c.g.deps.Now().Sub(c.start)
	if c.status == 0 {
		c.status = http.StatusInternalServerError
	}
	c.g.metrics.ended(c)
	if c.tunnel != nil {
		c.g.tunnels.remove(c)
		c.cause = c.tunnel.ended()
	}
	if c.g.deps.Observe != nil {
		c.g.deps.Observe(c.r.Method, c.template(), "gateway", c.status, took)
	}
	c.log(took)
}

// template is the route of a call as metrics and logs name it.
func (c *call) template() string {
	if c.legacy {
		return LegacyPrefix + "{apiId}"
	}
	return CallPrefix + "{api}/{path...}"
}

func (c *call) log(took time.Duration) {
	level := zap.InfoLevel
	if c.refusal != "" && c.status >= 500 {
		level = zap.WarnLevel
	}
	line := c.g.deps.Log.Check(level, "call")
	if line == nil {
		return
	}
	pooled := fieldsOfLine.Get().(*[mostFields]zap.Field)
	fields := append(pooled[:0],
		zap.String("requestId", c.requestID), zap.String("method", c.r.Method), zap.String("route", c.template()), zap.Int("statusCode", c.status),
		zap.Float64("durationMs", float64(took.Microseconds())/1000), zap.String("clientIp", c.clientAddress()),
	)
	if c.route != nil {
		fields = append(fields, zap.String("api", c.route.Slug), zap.String("apiId", c.route.Text))
	}
	if c.endpoint != nil {
		fields = append(fields, zap.String("endpoint", c.endpoint.Name))
	}
	if c.key != nil {
		fields = append(fields, zap.String("keyPrefix", c.key.Prefix), zap.String("userId", c.key.Owner))
	}
	if c.upstream > 0 {
		fields = append(fields, zap.Float64("upstreamMs", float64(c.upstream.Microseconds())/1000))
	}
	if c.payment.charged {
		fields = append(fields, zap.String("charge", c.endpoint.Charge[0]))
	}
	if c.refusal != "" {
		fields = append(fields, zap.String("refusal", c.refusal))
	}
	if c.cause != nil && !errors.Is(c.cause, context.Canceled) {
		fields = append(fields, zap.Error(c.cause))
	}
	line.Write(fields...)
	clear(pooled[:])
	fieldsOfLine.Put(pooled)
}

const mostFields = 16

// fieldsOfLine are arrays of fields; a logger takes what it needs before Write returns.
var fieldsOfLine = sync.Pool{New: func() any { return new([mostFields]zap.Field) }}

// clientAddress is the caller's address for the log.
func (c *call) clientAddress() string {
	a, _ := c.g.cfg.Proxies.Client(c.r)
	if !a.IsValid() {
		return "unknown"
	}
	return a.String()
}

// limited applies the key's rate limit, and tells the caller how it stands.
func (c *call) limited() error {
	if c.key.Limit == 0 || c.g.deps.Limiter == nil {
		return nil
	}
	d := c.g.deps.Limiter.Take(c.key.Prefix, c.key.Limit, time.Minute)
	h, values := c.w.Header(), []string{strconv.Itoa(d.Remaining), seconds(d.Reset)}
	h["X-Ratelimit-Limit"], h["X-Ratelimit-Remaining"], h["X-Ratelimit-Reset"] = c.key.LimitText, values[:1:1], values[1:]
	if d.Allowed {
		return nil
	}
	h.Set("Retry-After", seconds(max(d.RetryAfter, time.Second)))
	return errTooMany
}

// seconds rounds up: a caller who comes back then is not too early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
