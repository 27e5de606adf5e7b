// Package config reads and checks what the environment decides.
package config

import (
	"net/netip"
	"net/url"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/adapters/ratelimit/shared"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// Config is all that the environment decides. It is read once; see .env.example for a sentence on each variable. Field
// names are unique across its parts, because the parser's errors name nothing else.
type Config struct {
	Notes []string // what somebody should look at, although it is no mistake

	Env         string   `env:"APP_ENV"`
	Host        string   `env:"HOST"`
	Port        int      `env:"PORT" envDefault:"3000"`
	Version     string   `env:"APP_VERSION" envDefault:"1.0.0"`
	LogLevel    string   `env:"LOG_LEVEL" envDefault:"info"`
	ShutdownFor Millis   `env:"SHUTDOWN_TIMEOUT_MS" envDefault:"30000"`
	Origins     []string `env:"CORS_ALLOWED_ORIGINS" envDefault:"http://localhost:5173"`

	TrustProxy     bool   `env:"TRUST_PROXY_HEADERS" envDefault:"false"`
	TrustedProxies Ranges `env:"TRUSTED_PROXIES"`
	UserHeaderFrom Ranges `env:"DEV_USER_HEADER_FROM"`

	JWTSecret  Secret `env:"JWT_SECRET"`
	AdminKey   Secret `env:"ADMIN_API_KEY"`
	MetricsKey Secret `env:"METRICS_API_KEY"`

	Database   Database
	RateLimits RateLimits
	Rest       Rest
	Gateway    Gateway
	Metering   Metering
	Stellar    Stellar
	Jobs       Jobs
}

// Database is where PostgreSQL is. URL wins over the single fields.
type Database struct {
	URL            Secret `env:"DATABASE_URL"`
	DBHost         string `env:"DB_HOST" envDefault:"localhost"`
	DBPort         int    `env:"DB_PORT" envDefault:"5432"`
	User           string `env:"DB_USER" envDefault:"postgres"`
	Password       Secret `env:"DB_PASSWORD" envDefault:"postgres"`
	Name           string `env:"DB_NAME" envDefault:"callora"`
	PoolMax        int    `env:"DB_POOL_MAX" envDefault:"10"`
	IdleTimeout    Millis `env:"DB_IDLE_TIMEOUT_MS" envDefault:"30000"`
	ConnTimeout    Millis `env:"DB_CONN_TIMEOUT_MS" envDefault:"2000"`
	MigrateOnStart bool   `env:"MIGRATE_ON_START" envDefault:"false"`
}

// RateLimits says where the events of rate limits are counted: blank or memory for each node by itself, else in a store that all
// nodes share.
type RateLimits struct {
	StoreURL     Secret `env:"RATE_LIMIT_STORE"`
	StoreTimeout Millis `env:"RATE_LIMIT_STORE_TIMEOUT_MS" envDefault:"50"`
	StorePrefix  string `env:"RATE_LIMIT_STORE_PREFIX" envDefault:"callora:"`
}

// Store is the store that nodes share; false when there is none.
func (r RateLimits) Store() (s shared.Store, has bool, err error) {
	if r.StoreURL == "" || r.StoreURL == "memory" {
		return s, false, nil
	}
	s, err = shared.ParseURL(string(r.StoreURL))
	return s, err == nil, err
}

// Rest bounds the REST API.
type Rest struct {
	RequestLimit Size   `env:"REQUEST_BODY_LIMIT" envDefault:"100kb"`
	RateWindow   Millis `env:"REST_RATE_LIMIT_WINDOW_MS" envDefault:"60000"`
	RateMax      int    `env:"REST_RATE_LIMIT_MAX_REQUESTS" envDefault:"100"`
	PublicMax    int    `env:"REST_PUBLIC_RATE_LIMIT_MAX_REQUESTS" envDefault:"300"`
	KeyGrace     Millis `env:"KEY_ROTATION_GRACE_MS" envDefault:"86400000"`
	HealthDB     Millis `env:"HEALTH_CHECK_DB_TIMEOUT" envDefault:"2000"`
}

// Gateway bounds the calls that are forwarded.
type Gateway struct {
	RateLimit        int      `env:"GATEWAY_RATE_LIMIT_PER_MINUTE" envDefault:"600"`
	UnknownLimit     int      `env:"GATEWAY_UNKNOWN_KEY_RATE_LIMIT_PER_MINUTE" envDefault:"120"`
	CallLimit        Size     `env:"GATEWAY_BODY_LIMIT" envDefault:"1mb"`
	Timeout          Millis   `env:"PROXY_TIMEOUT_MS" envDefault:"30000"`
	HostAllowlist    []string `env:"UPSTREAM_HOST_ALLOWLIST"`
	LegacyUpstream   WebURL   `env:"UPSTREAM_URL"`
	AllowedRanges    Ranges   `env:"GATEWAY_IP_ALLOWED_RANGES"`
	AllowlistEnabled bool     `env:"GATEWAY_IP_ALLOWLIST_ENABLED" envDefault:"true"`
	Profiling        bool     `env:"GATEWAY_PROFILING_ENABLED" envDefault:"false"`
	RetentionSeconds int      `env:"IDEMPOTENCY_RETENTION_WINDOW_SECONDS" envDefault:"86400"`
	ClaimLease       Millis   `env:"IDEMPOTENCY_LEASE_MS" envDefault:"30000"`
	KeepMemory       Size     `env:"IDEMPOTENCY_MEMORY_LIMIT" envDefault:"64mb"`
}

// Metering sizes leases and batches.
type Metering struct {
	Mode          charging.Mode `env:"METERING_MODE" envDefault:"durable"`
	BatchMax      int           `env:"METERING_BATCH_MAX" envDefault:"2000"`
	BatchWait     Millis        `env:"METERING_BATCH_WAIT_MS" envDefault:"2"`
	AsyncFlush    Millis        `env:"METERING_ASYNC_FLUSH_MS" envDefault:"20"`
	QueueMax      int           `env:"METERING_QUEUE_MAX" envDefault:"20000"`
	Shards        int           `env:"METERING_SHARDS" envDefault:"1"`
	CommitTimeout Millis        `env:"METERING_COMMIT_TIMEOUT_MS" envDefault:"10000"`
	LeaseTTL      Millis        `env:"LEASE_TTL_MS" envDefault:"30000"`
	LeaseTarget   Millis        `env:"LEASE_TARGET_MS" envDefault:"10000"`
	LeaseIdle     Millis        `env:"LEASE_IDLE_MS" envDefault:"5000"`
	LeaseMaxAge   Millis        `env:"LEASE_MAX_AGE_MS" envDefault:"60000"`
}

// Stellar names the network, and the services whose health is watched.
type Stellar struct {
	Network        vault.Network `env:"STELLAR_NETWORK" envDefault:"testnet"`
	RPCEnabled     bool          `env:"SOROBAN_RPC_ENABLED" envDefault:"false"`
	RPCURL         WebURL        `env:"SOROBAN_RPC_URL"`
	RPCTimeout     Millis        `env:"SOROBAN_RPC_TIMEOUT" envDefault:"2000"`
	HorizonEnabled bool          `env:"HORIZON_ENABLED" envDefault:"false"`
	HorizonURL     WebURL        `env:"HORIZON_URL"`
	HorizonTimeout Millis        `env:"HORIZON_TIMEOUT" envDefault:"2000"`
}

// Jobs sets how often the periodic passes run.
type Jobs struct {
	RevenueEvery     Millis `env:"REVENUE_LEDGER_INDEXER_INTERVAL_MS" envDefault:"30000"`
	RevenueBatch     int    `env:"REVENUE_LEDGER_INDEXER_BATCH_SIZE" envDefault:"500"`
	LeaseExpiryEvery Millis `env:"LEASE_EXPIRY_INTERVAL_MS" envDefault:"1000"`
	PartitionsEvery  Millis `env:"USAGE_PARTITIONS_INTERVAL_MS" envDefault:"3600000"`
	SweepEvery       Millis `env:"SWEEP_INTERVAL_MS" envDefault:"60000"`
	KeyUseEvery      Millis `env:"KEY_LAST_USED_INTERVAL_MS" envDefault:"15000"`
}

// aliases are the second names of variables; the first name wins when both are set.
var aliases = map[string]string{
	"APP_ENV":         "NODE_ENV",
	"STELLAR_NETWORK": "SOROBAN_NETWORK",
}

// Production reports whether the strict rules apply.
func (c *Config) Production() bool { return c.Env == "production" }

// Proxies are whose word on a caller's address is believed, by REST and gateway alike.
func (c *Config) Proxies() httpkit.Proxies {
	return httpkit.Proxies{Trusted: c.TrustedProxies, LastHop: c.TrustProxy}
}

// ListenHost is the address to listen on. On a developer's machine, where secrets are short and metrics open, a server
// that was not told otherwise is nobody else's to reach.
func (c *Config) ListenHost() string {
	if c.Host == "" && !c.Production() {
		return "127.0.0.1"
	}
	return c.Host
}

// Secrets are the values that must never be logged.
func (c *Config) Secrets() []string {
	out := []string{string(c.JWTSecret), string(c.AdminKey), string(c.MetricsKey)}
	if u, err := url.Parse(string(c.Database.URL)); err == nil {
		if p, ok := u.User.Password(); ok {
			out = append(out, p)
		}
	}
	if s, has, _ := c.RateLimits.Store(); has && s.Password() != "" {
		out = append(out, s.Password())
	}
	return out
}

// Ranges are the addresses that may use the legacy gateway; nil: all.
func (g Gateway) Ranges() []netip.Prefix {
	if !g.AllowlistEnabled || len(g.AllowedRanges) == 0 {
		return nil
	}
	return g.AllowedRanges
}
