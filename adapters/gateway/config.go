package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Config is how the gateway behaves.
type Config struct {
	ProxyTimeout     time.Duration // to the upstream's response header, then between two pieces of its body
	BodyLimit        int64         // bytes of a request body
	RatePerMinute    int           // calls of one key on this node; 0: no limit but the key's own
	UnknownPerMinute int           // calls of one address with a key that is unknown or wrong; 0: no limit
	Idempotency      time.Duration // how long the answer to an Idempotency-Key is kept; 0: a day
	ClaimLease       time.Duration // how long a claim on an Idempotency-Key lasts without being extended; 0: 30 s
	KeepMemory       int64         // bytes for answers to and from the store of Idempotency-Keys; 0: 64 MiB
	AllowedHosts     []string      // upstream hosts exempt from the ban of private addresses, see egress.Guard
	LegacyUpstream   *url.URL      // where /api/gateway calls go; nil: to the API's base URL
	LegacyAllow      []netip.Prefix
	LegacyGuarded    bool // whether LegacyAllow applies
	Proxies          httpkit.Proxies
	Profiling        bool // whether upstream metrics are kept per API
	MaxIdlePerHost   int  // connections kept to one upstream; 0: 512

	// StaleAfter is how long after the change feed's last good look what is in memory is believed; 0: 5 s.
	StaleAfter time.Duration

	// Engine makes the upstream calls; nil: an http.Transport with a guarded dialer.
	Engine http.RoundTripper

	proxied bool // every call goes by httputil.ReverseProxy: what tests compare with
}

// Deps is what the gateway works with. Limiter, MarkUsed and Observe may be nil.
type Deps struct {
	Charger     ports.Charger
	Keys        ports.KeyLookup
	Routes      ports.Routes
	Changes     ports.ChangeFeed
	Idempotency ports.Idempotency
	Limiter     ports.Limiter
	NewID       ports.NewID
	Now         ports.Clock
	Log         *zap.Logger
	Registry    prometheus.Registerer

	// MarkUsed is told which keys were used when, see Gateway.FlushUsed.
	MarkUsed func(ctx context.Context, used map[id.ID]time.Time) error
	// Observe counts an answered request in the metrics that all servers share.
	Observe func(method, route, group string, status int, took time.Duration)
}

// Defaults of Config.
const (
	defaultIdle       = 512
	defaultRetention  = 24 * time.Hour
	defaultStaleAfter = 5 * time.Second
)
