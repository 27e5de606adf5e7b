package config

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/CalloraOrg/callora-backend/adapters/egress"
	"github.com/CalloraOrg/callora-backend/adapters/logging"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// The least lengths of secrets. 32 characters are what HS256 asks for; on a developer's machine a slip is all there is to
// guard against.
const (
	secretLeast           = 8
	secretLeastProduction = 32
)

// check returns what is wrong with values that are well formed each by itself.
func (c *Config) check(given map[string]string, p Purpose) Error {
	var wrong Error
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	switch {
	case c.Env == "" && p == Serving:
		fail("APP_ENV is missing: set it to development, production or test; only production turns the strict rules on")
	case c.Env != "" && !slices.Contains([]string{"development", "production", "test"}, c.Env):
		fail("APP_ENV (or NODE_ENV) must be development, production or test")
	}
	if c.Production() && c.UserHeaderFrom != nil {
		fail("DEV_USER_HEADER_FROM must be blank in production: whoever sends X-User-Id from there would be any user")
	}
	if c.TrustProxy && c.TrustedProxies != nil {
		fail("TRUST_PROXY_HEADERS must be blank or false beside TRUSTED_PROXIES, which says more exactly whom to trust")
	}
	if _, err := logging.ParseLevel(c.LogLevel); err != nil {
		fail("LOG_LEVEL must be %s", logging.Levels)
	}
	if c.Port < 0 || c.Port > 65535 {
		fail("PORT must be between 0 and 65535 (0: any free port)")
	}
	if c.Metering.Mode != charging.Durable && c.Metering.Mode != charging.Async {
		fail("METERING_MODE must be durable or async")
	}
	if c.Stellar.Network != vault.Testnet && c.Stellar.Network != vault.Mainnet {
		fail("STELLAR_NETWORK (or SOROBAN_NETWORK) must be testnet or mainnet")
	}
	if c.Stellar.RPCEnabled && given["SOROBAN_RPC_URL"] == "" {
		fail("SOROBAN_RPC_URL is missing: SOROBAN_RPC_ENABLED is true")
	}
	if c.Stellar.HorizonEnabled && given["HORIZON_URL"] == "" {
		fail("HORIZON_URL is missing: HORIZON_ENABLED is true")
	}
	if _, err := egress.NewGuard(c.Gateway.HostAllowlist); err != nil {
		fail("UPSTREAM_HOST_ALLOWLIST must be hosts separated by commas, such as api.internal,api.internal:8080,10.0.0.7,10.0.0.0/8")
	}
	if _, _, err := c.RateLimits.Store(); err != nil {
		fail("RATE_LIMIT_STORE %v, or be memory", err)
	}
	c.checkOrigins(fail)
	if p == Serving {
		c.checkSecrets(fail)
	}
	c.Database.check(given, fail)
	c.checkNumbers(fail)
	return wrong
}

func (c *Config) checkOrigins(fail func(string, ...any)) {
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
			fail("CORS_ALLOWED_ORIGINS must be origins separated by commas, such as https://app.example.com")
			return
		}
	}
}

func (c *Config) checkSecrets(fail func(string, ...any)) {
	least, where := secretLeast, ""
	if c.Production() {
		least, where = secretLeastProduction, " in production"
	}
	secrets := []struct {
		name  string
		value Secret
	}{{"JWT_SECRET", c.JWTSecret}, {"ADMIN_API_KEY", c.AdminKey}, {"METRICS_API_KEY", c.MetricsKey}}
	for i, s := range secrets {
		switch {
		case s.value == "":
			fail("%s is missing: set it to at least %d random characters, e.g. from `openssl rand -hex 32`", s.name, least)
		case len(s.value) < least:
			fail("%s is too short: it must have at least %d characters%s", s.name, least, where)
		}
		for _, other := range secrets[:i] {
			if c.Production() && s.value != "" && s.value == other.value {
				fail("%s must differ from %s in production", s.name, other.name)
			}
		}
	}
}

// checkNumbers holds every number above its least value.
func (c *Config) checkNumbers(fail func(string, ...any)) {
	g, m, d, p := c.Gateway, c.Metering, c.Database, c.Jobs
	for _, n := range []struct {
		name         string
		value, least int64
	}{
		{"DB_POOL_MAX", int64(d.PoolMax), 2},
		{"GATEWAY_RATE_LIMIT_PER_MINUTE", int64(g.RateLimit), 0},
		{"GATEWAY_UNKNOWN_KEY_RATE_LIMIT_PER_MINUTE", int64(g.UnknownLimit), 0},
		{"IDEMPOTENCY_RETENTION_WINDOW_SECONDS", int64(g.RetentionSeconds), 60},
		{"REST_RATE_LIMIT_MAX_REQUESTS", int64(c.Rest.RateMax), 1},
		{"REST_PUBLIC_RATE_LIMIT_MAX_REQUESTS", int64(c.Rest.PublicMax), 0},
		{"METERING_BATCH_MAX", int64(m.BatchMax), 1},
		{"METERING_QUEUE_MAX", int64(m.QueueMax), 1},
		{"METERING_SHARDS", int64(m.Shards), 1},
		{"REVENUE_LEDGER_INDEXER_BATCH_SIZE", int64(p.RevenueBatch), 1},
	} {
		if n.value < n.least {
			fail("%s must be %d or more", n.name, n.least)
		}
	}
	for _, t := range []struct {
		name  string
		value Millis
		least int64
	}{
		{"SHUTDOWN_TIMEOUT_MS", c.ShutdownFor, 1000}, {"REST_RATE_LIMIT_WINDOW_MS", c.Rest.RateWindow, 1000},
		{"RATE_LIMIT_STORE_TIMEOUT_MS", c.RateLimits.StoreTimeout, 1}, {"HEALTH_CHECK_DB_TIMEOUT", c.Rest.HealthDB, 1}, {"PROXY_TIMEOUT_MS", g.Timeout, 1}, {"IDEMPOTENCY_LEASE_MS", g.ClaimLease, 1000},
		{"DB_CONN_TIMEOUT_MS", d.ConnTimeout, 1}, {"METERING_ASYNC_FLUSH_MS", m.AsyncFlush, 1},
		{"METERING_COMMIT_TIMEOUT_MS", m.CommitTimeout, 100}, {"LEASE_TTL_MS", m.LeaseTTL, 1000},
		{"LEASE_TARGET_MS", m.LeaseTarget, 1}, {"LEASE_IDLE_MS", m.LeaseIdle, 1}, {"LEASE_MAX_AGE_MS", m.LeaseMaxAge, 1},
		{"SOROBAN_RPC_TIMEOUT", c.Stellar.RPCTimeout, 1}, {"HORIZON_TIMEOUT", c.Stellar.HorizonTimeout, 1},
		{"REVENUE_LEDGER_INDEXER_INTERVAL_MS", p.RevenueEvery, 10}, {"LEASE_EXPIRY_INTERVAL_MS", p.LeaseExpiryEvery, 10},
		{"USAGE_PARTITIONS_INTERVAL_MS", p.PartitionsEvery, 10}, {"SWEEP_INTERVAL_MS", p.SweepEvery, 10},
		{"KEY_LAST_USED_INTERVAL_MS", p.KeyUseEvery, 10},
	} {
		if t.value.D().Milliseconds() < t.least {
			fail("%s must be %d milliseconds or more", t.name, t.least)
		}
	}
}
