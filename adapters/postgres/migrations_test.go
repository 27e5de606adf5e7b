package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

// facts are rows that agree with each other, by what they tell; each needs those before it. {x} are ids; see withIDs.
var facts = []struct {
	tells, sql string
	table      string // a version without it cannot tell this
	money      bool   // it is lost with its table, and must not be
	from, to   int64  // the versions that tell it so; 0: there is no first or last
}{
	{"a user", `INSERT INTO users (id) VALUES ({user})`, "users", false, 0, 0},
	{"a developer", `INSERT INTO developers (id, user_id, name) VALUES ({developer}, {user}, 'Ada')`, "developers", false, 0, 0},
	{"an empty vault", `INSERT INTO vaults (id, user_id, network) VALUES ({vault}, {user}, 'testnet')`, "vaults", false, 0, 0},
	{"an API", `INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
		VALUES ({api}, {developer}, 'maps', 'Maps', 'https://maps.example', 'geo', 'active')`, "apis", false, 0, 0},
	{"a key", `INSERT INTO api_keys (id, user_id, api_id, prefix, key_hash, scopes)
		VALUES ({key}, {user}, {api}, repeat('k', 16), sha256('k'), '{*}')`, "api_keys", false, 0, 0},
	{"a balance", `UPDATE vaults SET balance_snapshot = 100`, "vaults", true, 0, 0},
	{"a linked vault", `UPDATE vaults SET contract_id = 'C1'`, "vaults", true, 0, 0},
	{"money held by a lease", `WITH l AS (INSERT INTO leases (id, vault_id, node_id, granted, expires_at)
		VALUES ({lease}, {vault}, {node}, 50, now() + INTERVAL '1 hour')) UPDATE vaults SET held = 50`, "leases", true, 0, 0},
	{"a charge", `WITH u AS (INSERT INTO usage_events
		(id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		VALUES ({event}, {lease}, {user}, {api}, {node}, {key}, 10, 200, 1, now())) UPDATE leases SET used = 10`, "usage_events", true, 0, 0},
	{"money to collect", `WITH l AS (UPDATE leases SET state = 'closed', closed_at = now())
		UPDATE vaults SET held = 0, uncollected = 10`, "leases", true, 0, 0},
	{"revenue by call", `WITH r AS (INSERT INTO {revenue} (usage_event_id, developer_id, api_id, lease_id, amount, earned_at)
		VALUES ({event}, {developer}, {api}, {lease}, 10, now()))
		UPDATE leases SET indexed = 10, indexed_to = {event}, indexed_at = now()`, "revenue_ledger", true, 0, 11},
	{"revenue", `WITH r AS (INSERT INTO revenue (lease_id, api_id, developer_id, user_id, calls, amount, first_event, last_event, earned_at)
		VALUES ({lease}, {api}, {developer}, {user}, 1, 10, {event}, {event}, now()))
		UPDATE leases SET indexed = 10, indexed_at = now()`, "revenue_ledger", true, 12, 0},
	{"a settlement", `INSERT INTO settlements (id, developer_id, amount, status) VALUES ({settlement}, {developer}, 10, 'pending');
		UPDATE {revenue} SET settlement_id = {settlement}`, "settlements", true, 0, 0},
	{"news for somebody", `INSERT INTO outbox (id, topic, subject, payload) VALUES ({event}, 'call.charged', {event}, '{}')`, "outbox", true, 0, 0},
	{"an Idempotency-Key", `INSERT INTO idempotency (user_id, key, fingerprint, event_id, claim, locked_until, expires_at)
		VALUES ({user}, 'once', 'f', {event}, {event}, now(), now() + INTERVAL '1 hour')`, "idempotency", true, 0, 0},
}

// born is the time of all ids: leases have events of their own time.
var born = time.Now()

func withIDs(text string) string {
	var pairs []string
	for i, noun := range []string{"user", "developer", "vault", "api", "key", "lease", "node", "event", "settlement"} {
		u := id.FirstAt(born)
		u[15] = byte(i + 1)
		pairs = append(pairs, "{"+noun+"}", "'"+u.String()+"'")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// revenueAt is the table of revenue at a version.
func revenueAt(version int64) string {
	switch {
	case version < 11:
		return "revenue_ledger"
	case version == 11:
		return "revenue_by_call"
	}
	return "revenue"
}

// tables are the names of all tables and views with rows that a step down may lose.
func tables(t *testing.T, pool *sqlx.DB) (names []string) {
	t.Helper()
	err := pool.Select(&names, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
		AND NOT relispartition AND relname NOT IN ('goose_db_version', 'changes') ORDER BY relname`)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// contents is all rows of all tables as text, by table.
func contents(t *testing.T, pool *sqlx.DB) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for _, name := range tables(t, pool) {
		var text string
		if err := pool.Get(&text, `SELECT COALESCE(string_agg(r::text, ' ' ORDER BY r::text), '') FROM `+name+` r`); err != nil {
			t.Fatal(err)
		}
		rows[name] = text
	}
	return rows
}

// moneyIn is what a step down and up must leave as it was, as far as the schema has it.
func moneyIn(t *testing.T, pool *sqlx.DB) string {
	t.Helper()
	var sums []string
	for _, query := range []string{
		`SELECT (count(*), sum(balance_snapshot), sum(uncollected), sum(held))::text FROM vaults`,
		`SELECT (count(*), sum(granted), sum(used), sum(indexed), max(state))::text FROM leases`,
		`SELECT (count(*), sum(amount))::text FROM usage_events`,
		`SELECT (count(*), sum(amount), count(settlement_id))::text FROM revenue_ledger`,
		`SELECT (count(*), sum(amount), max(status))::text FROM settlements`,
		`SELECT (count(*), max(state), max(expires_at))::text FROM idempotency`,
	} {
		var sum string
		table := query[strings.LastIndex(query, " ")+1:]
		if _, there := contents(t, pool)[table]; !there {
			continue
		}
		if err := pool.Get(&sum, query); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, table+sum)
	}
	return strings.Join(sums, " ")
}

// last is the version of a new database.
func last(t *testing.T) int64 {
	t.Helper()
	want, err := db.Wanted()
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func versionOf(t *testing.T, pool *sqlx.DB) int64 {
	t.Helper()
	at, _, err := db.Version(t.Context(), pool.DB)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// databaseAt returns a database at the version with the first n facts that it can hold, and the last of them.
func databaseAt(t *testing.T, version int64, n int) (pool *sqlx.DB, told int) {
	t.Helper()
	pool = dbtest.New(t)
	for versionOf(t, pool) > version {
		if _, err := db.Down(t.Context(), pool.DB, false); err != nil {
			t.Fatal(err)
		}
	}
	there := contents(t, pool)
	for _, f := range facts[:n] {
		if _, known := there[f.table]; !known || version < f.from || f.to != 0 && version > f.to {
			continue
		}
		if _, err := pool.Exec(strings.ReplaceAll(withIDs(f.sql), "{revenue}", revenueAt(version))); err != nil {
			t.Fatalf("%s at version %d: %v", f.tells, version, err)
		}
		told++
	}
	return pool, told
}

func wantSoundMoney(t *testing.T, pool *sqlx.DB) {
	t.Helper()
	found, err := postgres.NewAuditor(pool).Invariants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if !i.Holds() {
			t.Errorf("%s: %s is %s, %s is %s, %d rows", i.Name, i.LeftName, i.Left, i.RightName, i.Right, i.Offenders)
		}
	}
}

// From each version with each state of money: the step down either refuses and changes nothing, or loses no money, and
// the step up brings a database that adds up.
func TestDownAndUpLosesNoMoneyFromAnyVersion(t *testing.T) {
	t.Parallel()
	steps, err := db.Status(t.Context(), dbtest.New(t).DB)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		t.Run(step.Name, func(t *testing.T) {
			t.Parallel()
			told := -1
			for n := range len(facts) + 1 {
				if n > 0 && n < len(facts) && !facts[n-1].money {
					continue
				}
				pool, now := databaseAt(t, step.Version, n)
				if now == told {
					continue // this version cannot tell it
				}
				told = now
				downAndUp(t, pool, n)
			}
		})
	}
}

func downAndUp(t *testing.T, pool *sqlx.DB, n int) {
	t.Helper()
	state := "nothing"
	if n > 0 {
		state = facts[n-1].tells
	}
	version, before, had := versionOf(t, pool), contents(t, pool), moneyIn(t, pool)
	_, err := db.Down(t.Context(), pool.DB, false)
	lossless := err == nil
	if err != nil {
		if !errors.Is(err, db.ErrRefused) || !strings.Contains(err.Error(), "because it would") || !strings.Contains(err.Error(), "Nothing was changed") {
			t.Errorf("with %s: %v", state, err)
		}
		if versionOf(t, pool) != version || fmt.Sprint(contents(t, pool)) != fmt.Sprint(before) {
			t.Errorf("with %s: a refused step has changed something", state)
		}
	} else {
		left := contents(t, pool)
		for _, f := range facts[:n] {
			if _, stays := left[f.table]; f.money && before[f.table] != "" && !stays {
				t.Errorf("down from %d with %s loses %s", version, state, f.tells)
			}
		}
		if n == len(facts) && version <= 4 && version != 2 {
			t.Errorf("down from %d with everything in it is not refused", version)
		}
	}
	if _, err := db.Up(t.Context(), pool.DB); err != nil {
		t.Fatalf("up from %d with %s: %v", version, state, err)
	}
	if has := moneyIn(t, pool); lossless && version > 4 && has != had {
		t.Errorf("down from %d and up with %s makes %s of %s", version, state, has, had)
	}
	wantSoundMoney(t, pool)
}

func TestDownToNothingRefusesWholeWhenOneStepDoes(t *testing.T) {
	t.Parallel()
	pool, _ := databaseAt(t, last(t), len(facts))
	version, before := versionOf(t, pool), contents(t, pool)
	n, err := db.Down(t.Context(), pool.DB, true)
	if n != 0 || !errors.Is(err, db.ErrRefused) || strings.Contains(err.Error(), "BEGIN") {
		t.Errorf("%d steps, %v", n, err)
	}
	if versionOf(t, pool) != version || len(contents(t, pool)) != len(before) {
		t.Errorf("left at version %d of %d", versionOf(t, pool), version)
	}
	wantSoundMoney(t, pool)
	// and when the way back up is closed too, the error says so
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Down(ctx, pool.DB, true); err == nil {
		t.Error("goes down with a context that has ended")
	}
}

// Without the bounds of its events, a lease's are looked for from an hour before it was opened; a long call that has
// moved to it may be older.
func TestBoundsThatCannotBeGuessedAreNotTakenBack(t *testing.T) {
	t.Parallel()
	pool, _ := databaseAt(t, 5, len(facts))
	for _, outside := range []bool{true, false} {
		pool.MustExec(`UPDATE leases SET opened_at = now(), first_event = uuid7_floor(now() - INTERVAL '59 minutes'), last_event = uuid7_floor(now())`)
		if outside {
			pool.MustExec(`UPDATE leases SET first_event = uuid7_floor(now() - INTERVAL '61 minutes')`)
		}
		if _, err := db.Down(t.Context(), pool.DB, false); errors.Is(err, db.ErrRefused) != outside {
			t.Errorf("older than that: %t, got %v", outside, err)
		}
	}
}

func TestAStoppedVaultDoesNotPayAgainByAStepDown(t *testing.T) {
	t.Parallel()
	pool, _ := databaseAt(t, 10, len(facts))
	for _, at := range []string{"now()", "NULL"} {
		pool.MustExec(`UPDATE vaults SET stopped_at = ` + at + `, stopped_because = 'because of ' || ` + at) // and this is news
		if _, err := db.Down(t.Context(), pool.DB, false); errors.Is(err, db.ErrRefused) != (at != "NULL") {
			t.Errorf("stopped at %s: %v", at, err)
		}
	}
}
