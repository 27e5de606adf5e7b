package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// Prefixes of the paths that the gateway serves.
const (
	CallPrefix   = "/v1/call/"
	LegacyPrefix = "/api/gateway/"
)

// ServeHTTP serves one call.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event := g.deps.NewID()
	c := &call{g: g, w: w, r: r, out: out{ResponseWriter: w, timeout: g.cfg.ProxyTimeout, final: !r.ProtoAtLeast(1, 1)}, sentBody: r.Body, start: g.deps.Now()}
	c.name(event)
	defer c.endBody()
	g.metrics.inFlight.Inc()
	defer g.metrics.inFlight.Dec()
	defer c.finish()
	defer c.recover()

	if !listing.Sold(r.Method) {
		c.w.Header()["Allow"] = allowedMethods
		c.refuse(errMethod)
		return
	}
	admit := c.admit
	if strings.HasPrefix(sentPath(r.URL), LegacyPrefix) {
		c.legacy = true
		admit = c.admitLegacy
	}
	if err := admit(); err != nil {
		c.refuse(err)
		return
	}
	c.serve()
}

// recover turns a panic into a 500, or cuts the answer that has begun. http.ErrAbortHandler is the proxy's own way to cut.
func (c *call) recover() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		c.cause = fmt.Errorf("panic: %v", p)
		c.g.deps.Log.Error("panic", zap.String("requestId", c.requestID), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		if !c.sent {
			c.refuse(httpkit.ErrInternal.Because(c.cause))
			return
		}
	}
	c.aborted = true
	panic(http.ErrAbortHandler)
}

// sentPath is the path as the caller wrote it; EscapedPath would encode anew what it finds unusual.
func sentPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// admit does the checks that cost nothing, in the order in which they may tell a stranger something.
func (c *call) admit() error {
	if !c.g.table.Loaded() {
		return errStarting
	}
	plain, err := credential(c.r.Header)
	if err != nil {
		return err
	}
	if err := c.authenticate(plain); err != nil {
		return err
	}
	ref := strings.TrimPrefix(sentPath(c.r.URL), CallPrefix)
	path := ""
	if i := strings.IndexByte(ref, '/'); i >= 0 {
		ref, path = ref[:i], ref[i:]
	}
	if err := c.findRoute(ref); err != nil {
		return err
	}
	if c.path, err = listing.CleanPath(path); err != nil {
		return err
	}
	var ok bool
	if c.endpoint, ok = c.route.Endpoint(c.r.Method, c.path); !ok {
		return errNoEndpoint
	}
	c.target = c.route.Target
	return c.permit()
}

// admitLegacy does the same for /api/gateway/{apiId}, with the refusals that callers of it know.
func (c *call) admitLegacy() error {
	if err := c.fromAllowedAddress(); err != nil {
		return err
	}
	ref, rest, deeper := strings.Cut(strings.TrimPrefix(sentPath(c.r.URL), LegacyPrefix), "/")
	if deeper && rest != "" {
		return errLegacyPath
	}
	if ref == "" || len(ref) > 50 {
		return errLegacyID
	}
	if !c.g.table.Loaded() {
		return errStarting
	}
	plain := strings.TrimSpace(c.r.Header.Get(headerKey))
	if plain == "" {
		return errLegacyNoKey
	}
	switch err := c.authenticate(plain); {
	case errors.Is(err, errRevokedKey):
		return errLegacyRevoked
	case err != nil:
		return err
	}
	switch err := c.findRoute(ref); {
	case errors.Is(err, errUnknownAPI), errors.Is(err, errOtherAPI):
		return errWrongKey
	case err != nil:
		return err
	}
	var ok bool
	if c.endpoint, ok = c.route.CatchAll(c.r.Method); !ok {
		return errNoEndpoint
	}
	c.path, _ = listing.CleanPath("")
	c.target = c.route.Target
	if c.g.ownAt != nil {
		c.target = c.g.ownAt
	}
	return c.permit()
}

// fromAllowedAddress holds the legacy gateway's list of addresses.
func (c *call) fromAllowedAddress() error {
	if !c.g.cfg.LegacyGuarded || len(c.g.cfg.LegacyAllow) == 0 {
		return nil
	}
	a, ok := c.g.cfg.Proxies.Client(c.r)
	if !ok {
		return errAddressShape
	}
	if !contains(c.g.cfg.LegacyAllow, a) {
		return errAddress
	}
	return nil
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// findRoute finds the API of a call, which is the one that its key opens. That one is looked up when it is not in memory, or has
// been there unconfirmed for too long; no other is, so that nobody can make us look for names.
func (c *call) findRoute(ref string) error {
	c.route = c.g.table.Find(ref)
	if c.route == nil || c.route.ID == c.key.APIID && !c.route.Fresh(c.since) {
		r, err := c.g.table.LookUp(c.r.Context(), c.key.APIID, c.since)
		switch {
		case errors.Is(err, listing.ErrNotFound), err == nil && !r.Named(ref):
			c.route = nil
			return errUnknownAPI
		case err != nil:
			return err
		}
		c.route = r
	}
	if c.route.ID != c.key.APIID {
		return errOtherAPI
	}
	return nil
}

// permit holds what the key and the request themselves must fulfil.
func (c *call) permit() error {
	if c.keyInURL() {
		return errKeyInURL
	}
	if c.r.Header["Upgrade"] != nil {
		if err := c.checkUpgrade(); err != nil {
			return err
		}
	}
	if !c.key.Allows(c.r.Method, c.endpoint.Path) {
		return errScope
	}
	if err := c.limited(); err != nil {
		return err
	}
	if c.r.ContentLength > c.g.cfg.BodyLimit {
		return errTooLarge
	}
	return nil
}
