package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

const (
	idempotencyKeyMost    = 255
	idempotencyFirstPause = 10 * time.Millisecond
	idempotencyLastPause  = time.Second
)

// claimIdempotency takes the call's Idempotency-Key, and waits for another call that has it. It reports whether the call is done
// with: replayed or refused.
func (c *call) claimIdempotency() (done bool) {
	key := c.r.Header.Get(headerIdempotency)
	if !printable(key) || len(c.r.Header.Values(headerIdempotency)) > 1 {
		c.refuse(errIdempotencyKey)
		return true
	}
	ask := ports.IdempotencyClaim{
		Consumer: c.key.UserID, Key: key, Fingerprint: c.fingerprint(), Event: c.payment.event,
		Lease: c.g.claims.lease, Retention: c.g.claims.retention,
	}
	deadline := c.start.Add(c.g.cfg.ProxyTimeout)
	for pause := idempotencyFirstPause; ; pause = min(2*pause, idempotencyLastPause) {
		since := time.Now()
		state, err := c.askForClaim(ask)
		if err != nil {
			c.payment.claim = c.g.claims.add(c.r.Context(), ask.Claimed(), since) // perhaps it was granted
			c.refuse(usage.ErrNotRecorded.Because(err))
			return true
		}
		switch state.Outcome {
		case ports.IdempotencyClaimed, ports.IdempotencyRepeat:
			c.name(state.Event)
			c.payment.claim = c.g.claims.add(c.r.Context(), ask.Claimed(), since)
			return state.Answer != nil && c.repeat(state.Answer)
		case ports.IdempotencyAnswered:
			c.name(state.Event)
			c.replay(state.Answer)
			return true
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

// askForClaim does not end with the caller: half a statement would leave a claim that nobody knows of.
func (c *call) askForClaim(ask ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), storeTime)
	defer cancel()
	return c.g.deps.Idempotency.Claim(ctx, ask)
}

// repeat makes the call the one free repeat of a call that was charged and whose answer is not kept.
func (c *call) repeat(a *usage.IdempotentAnswer) (done bool) {
	c.payment.free = true
	if err := c.expectBody(a.BodyHash, false); err != nil {
		c.refuse(err)
		return true
	}
	return false
}

// replay gives the kept answer again. What slow callers have not taken yet counts as memory for kept answers.
func (c *call) replay(a *usage.IdempotentAnswer) {
	c.payment.free = true
	if err := c.expectBody(a.BodyHash, true); err != nil {
		c.refuse(err)
		return
	}
	if c.refuseBody() {
		return
	}
	if !c.g.claims.take(len(a.Body)) {
		c.w.Header().Set("Retry-After", "1")
		c.refuse(errReplayBusy)
		return
	}
	defer c.g.claims.give(len(a.Body))
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
}

// expectBody holds a retry to the body of the first call, as far as that is known. With all, the body is read here; without,
// it is compared while it passes to the upstream, which does not get the end of another one.
func (c *call) expectBody(sum []byte, all bool) error {
	c.wantSum = sum
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
	_, _ = io.Copy(io.Discard, c.body) // refuseBody tells how it ended
	return nil
}

// keepAnswer stores the answer to a call under an Idempotency-Key, before it is charged. An answer that cannot be stored is
// not kept, which is no reason not to charge for it: the caller has it, or may fetch it again. A claim that is no longer the
// call's is.
func (c *call) keepAnswer(a *usage.IdempotentAnswer) error {
	claim := c.payment.claim
	if claim.lost.Load() {
		return usage.ErrNotRecorded.Because(errClaimLost)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), storeTime)
	defer cancel()
	switch kept, err := c.g.deps.Idempotency.Keep(ctx, claim.ClaimedKey, *a); {
	case err != nil:
		c.g.deps.Log.Warn("the answer to an Idempotency-Key is not kept", zap.String("requestId", c.requestID), zap.Error(err))
	case !kept:
		return usage.ErrNotRecorded.Because(errClaimLost)
	}
	return nil
}

// giveUp frees the key after a call that was not served.
func (c *call) giveUp(claim *claim) {
	c.g.claims.end(claim)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), storeTime)
	defer cancel()
	if err := c.g.deps.Idempotency.Release(ctx, claim.ClaimedKey); err != nil {
		c.g.deps.Log.Warn("an Idempotency-Key stays claimed until its lease is over",
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
