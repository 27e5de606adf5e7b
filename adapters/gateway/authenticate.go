package gateway

import (
	"errors"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

// authenticate finds the key. An unknown prefix and a wrong secret are the same to a caller, in words and in work.
//
// Whoever presents a key that is not in memory counts against their address before it is looked up, and is not counted after
// all when the key is good. So guessing costs an address its limit and the database no more than that, while callers with good keys
// share an address with a guesser unharmed.
func (c *call) authenticate(plain string) error {
	prefix, ok := apikey.PrefixOf(plain)
	if !ok {
		return c.refuseKey()
	}
	c.since = c.g.since(c.start)
	k := c.g.keys.Known(prefix)
	switch {
	case k == nil:
		if !c.countUnknown() {
			return errTooManyUnknown
		}
		var err error
		switch k, err = c.g.keys.Find(c.r.Context(), prefix, c.since); {
		case errors.Is(err, apikey.ErrNotFound):
			(&apikey.Key{}).Matches(plain)
			return errWrongKey
		case err != nil:
			c.uncountUnknown() // our own trouble
			return err
		case !k.Matches(plain):
			return errWrongKey
		}
		c.uncountUnknown()
	case !k.Matches(plain):
		return c.refuseKey()
	case !k.Fresh(c.since):
		var err error
		if k, err = c.g.keys.Find(c.r.Context(), prefix, c.since); err != nil {
			return err
		}
	}
	if k.Ended(c.start) {
		return errRevokedKey
	}
	c.key, c.secret = k, plain
	c.g.used.Mark(k, c.start)
	return nil
}

// refuseKey is the refusal of a wrong key, counted.
func (c *call) refuseKey() error {
	if !c.countUnknown() {
		return errTooManyUnknown
	}
	return errWrongKey
}

// countUnknown counts a call without a known key against its address; false when the address has used up its limit.
func (c *call) countUnknown() bool {
	if !c.limitsUnknown() {
		return true
	}
	d := c.g.deps.Limiter.Take(c.addressKey(), c.g.cfg.UnknownPerMinute, time.Minute)
	if !d.Allowed {
		c.w.Header().Set("Retry-After", seconds(max(d.RetryAfter, time.Second)))
	}
	return d.Allowed
}

func (c *call) uncountUnknown() {
	if c.limitsUnknown() {
		c.g.deps.Limiter.Return(c.addressKey(), c.g.cfg.UnknownPerMinute, time.Minute)
	}
}

func (c *call) limitsUnknown() bool { return c.g.deps.Limiter != nil && c.g.cfg.UnknownPerMinute > 0 }

func (c *call) addressKey() string {
	a, _ := c.g.cfg.Proxies.Client(c.r)
	return "unknown-key:" + httpkit.LimitKey(a)
}
