package db_test

import (
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// rows puts one valid row into every table. {x} are ids; see sqlOf.
var rows = []string{
	`INSERT INTO users (id, stellar_address) VALUES ({user}, 'G' || repeat('A', 55))`,
	`INSERT INTO developers (id, user_id, name) VALUES ({developer}, {user}, 'Ada')`,
	`INSERT INTO vaults (id, user_id, network, balance_snapshot) VALUES ({vault}, {user}, 'testnet', 100)`,
	`INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
	      VALUES ({api}, {developer}, 'maps-v2', 'Maps', 'https://maps.example', 'geo', 'active')`,
	`INSERT INTO api_endpoints (id, api_id, method, path, price_stroops) VALUES ({endpoint}, {api}, 'GET', '/tiles/{z}', 10)`,
	`INSERT INTO api_keys (id, user_id, api_id, prefix, key_hash, scopes)
	      VALUES ({key}, {user}, {api}, repeat('k', 16), sha256('k'), '{*}')`,
	`INSERT INTO leases (id, vault_id, node_id, granted, used, expires_at) VALUES ({lease}, {vault}, {node}, 50, 10, now())`,
	`INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
	      VALUES ({event}, {lease}, {user}, {api}, {endpoint}, {key}, 10, 200, 1, now())`,
	`INSERT INTO idempotency (user_id, key, fingerprint, event_id, claim, locked_until, expires_at)
	      VALUES ({user}, 'once', 'f', {event}, {event}, now(), now())`,
	`INSERT INTO settlements (id, developer_id, amount, status) VALUES ({settlement}, {developer}, 10, 'pending')`,
	`INSERT INTO revenue (lease_id, api_id, developer_id, user_id, calls, amount, settlement_id, first_event, last_event, earned_at)
	      VALUES ({lease}, {api}, {developer}, {user}, 1, 10, {settlement}, {event}, {event}, now())`,
	`INSERT INTO outbox (id, topic, subject, payload) VALUES ({event}, 'call.charged', {event}, '{}')`,
}

func fill(t *testing.T, db *sqlx.DB) {
	t.Helper()
	for _, row := range rows {
		if _, err := db.ExecContext(t.Context(), sqlOf(row)); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
	}
}

func TestTheSchemaRefusesWhatMustNotBe(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	fill(t, pool)
	const event = `INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at) VALUES `
	for _, c := range []struct{ promise, sql, by string }{
		{"one vault per user and network", `INSERT INTO vaults (id, user_id, network) VALUES ({new}, {user}, 'testnet')`, "vaults_user_network_key"},
		{"no third network", `INSERT INTO vaults (id, user_id, network) VALUES ({new}, {user}, 'moon')`, "vaults_network_check"},
		{"a vault has an owner", `INSERT INTO vaults (id, user_id, network) VALUES ({new}, {new}, 'testnet')`, "vaults_user_id_fkey"},
		{"no negative balance", `UPDATE vaults SET balance_snapshot = -1`, "vaults_balance_snapshot_check"},
		{"no negative hold", `UPDATE vaults SET held = -1`, "vaults_held_check"},
		{"no negative debt", `UPDATE vaults SET uncollected = -1`, "vaults_uncollected_check"},
		{"no negative ledger", `UPDATE vaults SET snapshot_ledger = -1`, "vaults_snapshot_ledger_check"},
		{"a stop has its reason", `UPDATE vaults SET stopped_at = now()`, "vaults_stopped_because_of_something"},
		{"a reason is in words", `UPDATE vaults SET stopped_at = now(), stopped_because = ' '`, "vaults_stopped_because_check"},
		{"no address but Stellar's", `UPDATE users SET stellar_address = 'G1'`, "users_stellar_address_check"},
		{"one user per address", `INSERT INTO users (id, stellar_address) VALUES ({new}, 'G' || repeat('A', 55))`, "users_stellar_address_key"},
		{"one developer per user", `INSERT INTO developers (id, user_id) VALUES ({new}, {user})`, "developers_user_id_key"},
		{"a slug is unique", `INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
			VALUES ({new}, {developer}, 'maps-v2', 'Maps', 'https://maps.example', 'geo', 'draft')`, "apis_slug_key"},
		{"a slug is a slug", `UPDATE apis SET slug = 'Maps!'`, "apis_slug_check"},
		{"no unknown status", `UPDATE apis SET status = 'gone'`, "apis_status_check"},
		{"an API with keys stays", `DELETE FROM apis`, "api_keys_api_id_fkey"},
		{"one price per operation", `INSERT INTO api_endpoints (id, api_id, method, path, price_stroops)
			VALUES ({new}, {api}, 'GET', '/tiles/{z}', 20)`, "api_endpoints_operation_key"},
		{"no negative price", `UPDATE api_endpoints SET price_stroops = -1`, "api_endpoints_price_stroops_check"},
		{"no unknown method", `UPDATE api_endpoints SET method = 'get'`, "api_endpoints_method_check"},
		{"a path starts at the root", `UPDATE api_endpoints SET path = 'tiles'`, "api_endpoints_path_check"},
		{"a prefix names one key", `INSERT INTO api_keys (id, user_id, api_id, prefix, key_hash, scopes)
			VALUES ({new}, {user}, {api}, repeat('k', 16), sha256('l'), '{*}')`, "api_keys_prefix_key"},
		{"a hash is a SHA-256", `UPDATE api_keys SET key_hash = 'plain'`, "api_keys_key_hash_check"},
		{"a key may do something", `UPDATE api_keys SET scopes = '{}'`, "api_keys_scopes_check"},
		{"a limit admits something", `UPDATE api_keys SET rate_limit_per_minute = 0`, "api_keys_rate_limit_per_minute_check"},
		{"a lease is never overdrawn", `UPDATE leases SET used = granted + 1`, "leases_never_overdrawn"},
		{"a lease never earns", `UPDATE leases SET used = -1`, "leases_never_overdrawn"},
		{"a lease grants something", `UPDATE leases SET granted = 0, used = 0`, "leases_granted_check"},
		{"a closed lease has its time", `UPDATE leases SET state = 'closed'`, "leases_closed_has_time"},
		{"an open lease is not indexed", `UPDATE leases SET indexed_at = now()`, "leases_indexed_when_closed"},
		{"an open lease earned nothing yet", `UPDATE leases SET indexed = 1`, "leases_indexed_when_closed"},
		{"a lease earns what was used", `UPDATE leases SET state = 'closed', closed_at = now(), indexed = used + 1`, "leases_revenue_as_used"},
		{"a lease is indexed whole", `UPDATE leases SET state = 'closed', closed_at = now(), used = 1, indexed_at = now()`, "leases_revenue_as_used"},
		{"a call is charged once", event + `({event}, {lease}, {user}, {api}, {endpoint}, {key}, 10, 200, 1, now())`, "usage_events_20"},
		{"no negative charge", event + `({new}, {lease}, {user}, {api}, {endpoint}, {key}, -1, 200, 1, now())`, "usage_events_amount_check"},
		{"a charge names its lease", event + `({new}, NULL, {user}, {api}, {endpoint}, {key}, 10, 200, 1, now())`, "usage_events_paid_by_lease"},
		{"a lease earns once on an API", `INSERT INTO revenue (lease_id, api_id, developer_id, user_id, calls, amount, first_event, last_event, earned_at)
			VALUES ({lease}, {api}, {new}, {user}, 1, 10, {event}, {event}, now())`, "revenue_pkey"},
		{"revenue is money", `UPDATE revenue SET amount = 0`, "revenue_amount_check"},
		{"revenue is of calls", `UPDATE revenue SET calls = 0`, "revenue_calls_check"},
		{"calls have a first and a last", `UPDATE revenue SET first_event = {new}`, "revenue_events_in_order"},
		{"a payout is money", `UPDATE settlements SET amount = 0`, "settlements_amount_check"},
		{"a completed payout has its proof", `UPDATE settlements SET status = 'completed'`, "settlements_completed_is_proven"},
		{"a payout that paid stays", `DELETE FROM settlements`, "revenue_settlement_id_fkey"},
		{"an Idempotency-Key has a text", `UPDATE idempotency SET key = ''`, "idempotency_key_check"},
		{"one claim per Idempotency-Key", `INSERT INTO idempotency (user_id, key, fingerprint, event_id, claim, locked_until, expires_at)
			VALUES ({user}, 'once', 'g', {new}, {new}, now(), now())`, "idempotency_pkey"},
	} {
		_, err := pool.ExecContext(t.Context(), sqlOf(c.sql))
		var refused *pq.Error
		if !errors.As(err, &refused) || refused.Code.Class() != "23" || !sameConstraint(refused.Constraint, c.by) {
			t.Errorf("%s: got %v, want a refusal by %s", c.promise, err, c.by)
		}
	}
}

func TestAVaultMayOwe(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	fill(t, pool)
	// its owner took the money out on chain while a node held some of it
	if _, err := pool.ExecContext(t.Context(), `UPDATE vaults SET balance_snapshot = 0, uncollected = 10, held = 40`); err != nil {
		t.Error(err)
	}
}
