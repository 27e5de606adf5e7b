package edge

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/ports"
)

// proven lets requests pass whose sender may use the operation and is within the rate limit. Requests without a proof count
// against their address, so that guessing is limited too; an operator's keys have no limit.
func (e *Edge) proven(a access, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		w.Header().Set("Cache-Control", "no-store")
		who, err := a.sender(r)
		key := "user:" + who.String()
		if err != nil {
			key = "ip:" + httpkit.LimitKey(x.client)
		}
		if (err != nil || a.proves == user) && !e.admit(w, key, e.cfg.RateLimit) {
			err = errTooMany
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		x.actor = who
		next.ServeHTTP(w, r)
	})
}

// public limits what anybody may use by the address of its caller, before it costs anything. Each part of the API has its
// own count: a market that is searched too much must not make a node look dead to who watches its health.
func (e *Edge) public(op *operation, next http.Handler) http.Handler {
	part := "public:" + groupOf(op.route.Path) + ":"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !e.admit(w, part+httpkit.LimitKey(exchangeOf(r.Context()).client), e.cfg.PublicLimit) {
			WriteError(w, r, errTooMany)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admit counts a request and shows the state of its limit in the answer's header.
func (e *Edge) admit(w http.ResponseWriter, key string, limit int) bool {
	if e.deps.Limiter == nil || limit == 0 {
		return true
	}
	d := e.deps.Limiter.Take("rest:"+key, limit, e.cfg.RateWindow)
	showLimit(w.Header(), d)
	return d.Allowed
}

func showLimit(h http.Header, d ports.Decision) {
	h.Set("X-RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(d.Remaining, 0)))
	h.Set("X-RateLimit-Reset", strconv.Itoa(seconds(d.Reset)))
	if !d.Allowed {
		h.Set("Retry-After", strconv.Itoa(max(seconds(d.RetryAfter), 1)))
	}
}

// seconds rounds up: who waits that long is not refused again for being early.
func seconds(d time.Duration) int { return int(math.Ceil(max(d, 0).Seconds())) }
