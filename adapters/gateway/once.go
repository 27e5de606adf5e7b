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
	onceMost       = 255
	onceFirstPause = 10 * time.Millisecond
	onceLastPause  = 200 * time.Millisecond
	forgetTime     = 5 * time.Second
)

// onceCall is a call under an Idempotency-Key.
type onceCall struct {
	key   string
	claim id.ID  // this call's own; forget gives up no other
	sum   []byte // what the body must hash to; nil: anything
}

// claimOnce takes the call's Idempotency-Key, and waits for another call that has it. It reports whether the call is done
// with: replayed or refused.
func (c *call) claimOnce() (done bool) {
	key := c.r.Header.Get(headerOnce)
	if !printable(key) || len(c.r.Header.Values(headerOnce)) > 1 {
		c.refuse(errOnceKey)
		return true
	}
	claim := ports.OnceClaim{
		Consumer: c.key.UserID, Key: key, Fingerprint: c.fingerprint(), Event: c.event,
		Hold: 2*c.g.cfg.ProxyTimeout + time.Minute, Retention: c.g.cfg.Idempotency,
	}
	deadline := c.start.Add(c.g.cfg.ProxyTimeout)
	for pause := onceFirstPause; ; pause = min(2*pause, onceLastPause) {
		state, err := c.g.deps.Once.Claim(c.r.Context(), claim)
		if err != nil {
			if c.clientGone() {
				c.leave()
			}
			c.refuse(usage.ErrNotRecorded.Because(err))
			return true
		}
		switch state.Outcome {
		case ports.OnceClaimed:
			c.run(key, claim.Event, state.Event)
			return false
		case ports.OnceAnswered:
			return c.replay(key, state)
		case ports.OnceConflict:
			c.refuse(errOnceConflict)
			return true
		case ports.OnceSpent:
			c.refuse(errOnceSpent)
			return true
		}
		if c.g.deps.Now().After(deadline) {
			c.w.Header().Set("Retry-After", "1")
			c.refuse(errOnceRunning)
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
	c.once = &onceCall{key: key, claim: claim}
	c.name(event)
}

// replay gives the kept answer again. One that was too large to keep is fetched again, without a charge.
func (c *call) replay(key string, state ports.OnceState) (done bool) {
	a := state.Answer
	c.run(key, c.event, state.Event)
	c.free = true
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
	c.once.sum = sum
	if sum == nil {
		return nil
	}
	if c.r.Body == nil || c.r.Body == http.NoBody {
		if subtle.ConstantTimeCompare(sum, emptySum) != 1 {
			return errOnceConflict
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
	case errors.Is(err, errOnceConflict):
		return errOnceConflict
	case err != nil:
		c.leave()
	}
	return nil
}

// forget gives the key up after a call that was not charged.
func (o *onceCall) forget(c *call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), forgetTime)
	defer cancel()
	if err := c.g.deps.Once.Forget(ctx, c.key.UserID, o.key, o.claim); err != nil {
		c.g.deps.Log.Warn("an Idempotency-Key stays claimed until its time is over",
			zap.String("requestId", c.requestID), zap.Error(err))
	}
	c.once = nil
}

// fingerprint is what two calls under one key must have in common, besides the body.
func (c *call) fingerprint() []byte {
	h := sha256.New()
	for _, part := range []string{c.route.id.String(), c.r.Method, c.target.host, c.path.Escaped, c.r.URL.RawQuery} {
		_, _ = io.WriteString(h, part+"\x00") // a hash takes everything
	}
	return h.Sum(nil)
}

func printable(key string) bool {
	if key == "" || len(key) > onceMost {
		return false
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}
