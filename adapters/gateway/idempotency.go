package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	idempotencyKeyMost    = 255
	idempotencyFirstPause = 10 * time.Millisecond
	idempotencyLastPause  = 200 * time.Millisecond
	forgetTime            = 5 * time.Second
)

// idempotentCall is a call under an Idempotency-Key.
type idempotentCall struct {
	key   string
	claim id.ID  // this call's own; forget gives up no other
	sum   []byte // what the body must hash to; nil: anything
}

// claimIdempotency takes the call's Idempotency-Key, and waits for another call that has it. It reports whether the call is done
// with: replayed or refused.
func (c *call) claimIdempotency() (done bool) {
	key := c.r.Header.Get(headerIdempotency)
	if !printable(key) || len(c.r.Header.Values(headerIdempotency)) > 1 {
		c.refuse(errIdempotencyKey)
		return true
	}
	claim := ports.IdempotencyClaim{
		Consumer: c.key.UserID, Key: key, Fingerprint: c.fingerprint(), Event: c.payment.event,
		Hold: 2*c.g.cfg.ProxyTimeout + time.Minute, Retention: c.g.cfg.Idempotency,
	}
	deadline := c.start.Add(c.g.cfg.ProxyTimeout)
	for pause := idempotencyFirstPause; ; pause = min(2*pause, idempotencyLastPause) {
		state, err := c.g.deps.Idempotency.Claim(c.r.Context(), claim)
		if err != nil {
			if c.clientGone() {
				c.leave()
			}
			c.refuse(usage.ErrNotRecorded.Because(err))
			return true
		}
		switch state.Outcome {
		case ports.IdempotencyClaimed:
			c.run(key, claim.Event, state.Event)
			return false
		case ports.IdempotencyAnswered:
			return c.replay(key, state)
		case ports.IdempotencyConflict:
			c.refuse(errIdempotencyConflict)
			return true
		case ports.IdempotencySpent:
			c.refuse(errIdempotencySpent)
			return true
		}
		if c.g.deps.Now().After(deadline) {
			c.w.Header().Set("Retry-After", "1")
			c.refuse(errIdempotencyRunning)
			return true
		}
		wait(c.r.Context(), pause/2+rand.N(pause/2))
		if c.clientGone() {
			c.leave()
		}
	}
}

// run makes the call the one that is charged for the key, under the event of the first that claimed it.
func (c *call) run(key string, claim, event id.ID) {
	c.payment.claim = &idempotentCall{key: key, claim: claim}
	c.name(event)
}

// replay gives the kept answer again. One that was too large to keep is fetched again, without a charge.
func (c *call) replay(key string, state ports.IdempotencyState) (done bool) {
	a := state.Answer
	c.run(key, c.payment.event, state.Event)
	c.payment.free = true
	if err := c.expectBody(a.BodyHash, a.Kept); err != nil {
		c.refuse(err)
		return true
	}
	if !a.Kept {
		return false
	}
	h := c.w.Header()
	for name, values := range a.Header {
		if name != headerCharge {
			h[name] = values
		}
	}
	h[headerReplayed] = []string{"true"}
	h[headerCharge] = []string{zeroCharge}
	if c.r.Method != http.MethodHead && a.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	c.begin(a.Status)
	c.out.WriteHeader(a.Status)
	if c.r.Method != http.MethodHead {
		_, _ = c.out.Write(a.Body) // a caller who has left needs no answer
	}
	return true
}

// expectBody holds a retry to the body of the first call, as far as that is known. With all, the body is read here; without,
// it is compared while it passes to the upstream, which does not get the end of another one.
func (c *call) expectBody(sum []byte, all bool) error {
	c.payment.claim.sum = sum
	if sum == nil {
		return nil
	}
	if c.r.Body == nil || c.r.Body == http.NoBody {
		if subtle.ConstantTimeCompare(sum, emptySum) != 1 {
			return errIdempotencyConflict
		}
		return nil
	}
	if !all {
		return nil
	}
	c.wrapBody()
	_, err := io.Copy(io.Discard, c.body)
	switch {
	case isTooLarge(err):
		return errTooLarge
	case errors.Is(err, errIdempotencyConflict):
		return errIdempotencyConflict
	case err != nil:
		c.leave()
	}
	return nil
}

// forget gives the key up after a call that was not charged.
func (o *idempotentCall) forget(c *call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), forgetTime)
	defer cancel()
	if err := c.g.deps.Idempotency.Forget(ctx, c.key.UserID, o.key, o.claim); err != nil {
		c.g.deps.Log.Warn("an Idempotency-Key stays claimed until its time is over",
			zap.String("requestId", c.requestID), zap.Error(err))
	}
}

// fingerprint is what two calls under one key must have in common, besides the body.
func (c *call) fingerprint() []byte {
	h := sha256.New()
	for _, part := range []string{c.route.ID.String(), c.r.Method, c.target.Host, c.path.Escaped, c.r.URL.RawQuery} {
		_, _ = io.WriteString(h, part+"\x00") // a hash takes everything
	}
	return h.Sum(nil)
}

func printable(key string) bool {
	if key == "" || len(key) > idempotencyKeyMost {
		return false
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}
