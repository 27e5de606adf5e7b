package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// restricted is a database with a seeded marketplace that a role without rights to the schema serves.
type restricted struct {
	owner, app string // addresses
	asOwner    *sqlx.DB
	key        string
	environ    map[string]string
}

func newRestricted(t *testing.T) *restricted {
	t.Helper()
	upstream := newGate(t)
	close(upstream.open)
	r := &restricted{}
	r.owner, r.app = dbtest.Roles(t)
	r.run(t, r.owner, "migrate", "up")
	lines := strings.Fields(r.run(t, r.app, "seed", "--upstream", upstream.URL))
	r.key = lines[len(lines)-1]
	r.asOwner = database(t, r.owner)
	r.environ = servingOn(r.app, "UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://"), "LEASE_TTL_MS", "1000",
		"LEASE_IDLE_MS", "50", "LEASE_EXPIRY_INTERVAL_MS", "20", "REVENUE_LEDGER_INDEXER_INTERVAL_MS", "20", "KEY_LAST_USED_INTERVAL_MS", "20",
		"SWEEP_INTERVAL_MS", "20", "USAGE_PARTITIONS_INTERVAL_MS", "20", "IDEMPOTENCY_TTL_MS", "60000")
	return r
}

// run runs a command that must succeed, and returns what it printed.
func (r *restricted) run(t *testing.T, address string, args ...string) string {
	t.Helper()
	p := launch(t, map[string]string{"DATABASE_URL": address, "APP_ENV": "development"}, args...)
	if code := p.exit(t); code != 0 {
		t.Fatalf("%v: code %d, %s%s", args, code, p.stdout.text(), p.stderr.text())
	}
	return p.stdout.text()
}

// role is the name of the role that serves.
func (r *restricted) role() string {
	_, rest, _ := strings.Cut(r.app, "://")
	name, _, _ := strings.Cut(rest, ":")
	return name
}

// nextDay makes the partitions run out, as they do when no pass makes any for a week.
func (r *restricted) nextDay(t *testing.T) {
	t.Helper()
	_, err := r.asOwner.Exec(`DO $$ DECLARE p text; BEGIN
		FOR p IN SELECT relname FROM pg_class WHERE relname ~ '^usage_events_[0-9]{8}$' LOOP
			EXECUTE format('ALTER TABLE usage_events DETACH PARTITION %I', p);
			EXECUTE format('INSERT INTO usage_events_default SELECT * FROM %I', p);
			EXECUTE format('DROP TABLE %I', p);
		END LOOP; END $$`)
	if err != nil {
		t.Fatal(err)
	}
}

// await waits until the condition holds in the database.
func (r *restricted) await(t *testing.T, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for holds := false; !holds; {
		if err := r.asOwner.GetContext(ctx, &holds, `SELECT `+condition+` FROM pg_sleep(0.02)`); err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
	}
}

// call makes a paid call with an Idempotency-Key, twice: the second is free.
func (r *restricted) call(t *testing.T, origin, once string) {
	t.Helper()
	var before, after int
	const events = `SELECT count(*) FROM usage_events`
	if err := r.asOwner.Get(&before, events); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if res, body := get(t, origin+"/v1/call/weather/forecast", "X-Api-Key", r.key, "Idempotency-Key", once); res.StatusCode != http.StatusOK {
			t.Fatalf("the call: %s %s", res.Status, body)
		}
	}
	if err := r.asOwner.Get(&after, events); err != nil || after != before+1 {
		t.Errorf("%d events more, %v", after-before, err)
	}
}

const (
	partitionsReady = `(SELECT ahead = 7 AND waiting = 0 FROM usage_partitions_state(7))`
	allBooked       = `(SELECT count(*) FROM revenue_ledger) = (SELECT count(*) FROM usage_events) AND EXISTS (SELECT FROM api_keys WHERE last_used_at IS NOT NULL)`
)

// Rights to rows are enough for all that a node does, on the first day and on the next.
func TestARoleWithRightsToRowsAloneServesOnTheNextDayToo(t *testing.T) {
	t.Parallel()
	r := newRestricted(t)
	for day := 1; day <= 2; day++ {
		p := launch(t, r.environ, "serve")
		origin := p.listening(t)
		r.call(t, origin, fmt.Sprint("day ", day))
		r.await(t, partitionsReady)
		r.await(t, allBooked)
		// a change made elsewhere is followed
		if _, err := r.asOwner.Exec(`UPDATE api_keys SET revoked_at = now()`); err != nil {
			t.Fatal(err)
		}
		for status := 0; status != http.StatusForbidden; {
			res, _ := get(t, origin+"/v1/call/weather/forecast", "X-Api-Key", r.key)
			status = res.StatusCode
		}
		if _, err := r.asOwner.Exec(`UPDATE api_keys SET revoked_at = NULL`); err != nil {
			t.Fatal(err)
		}
		p.finish(t)
		if log := p.stderr.text(); strings.Contains(log, "denied") || strings.Contains(log, "pass failed") {
			t.Errorf("day %d: something was refused", day)
		}
		r.run(t, r.app, "audit")
		r.nextDay(t)
	}
}

func TestARoleThatMayNotMakePartitionsWarnsAndGoesOn(t *testing.T) {
	t.Parallel()
	r := newRestricted(t)
	r.nextDay(t)
	if _, err := r.asOwner.Exec(`ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM ` + r.role()); err != nil {
		t.Fatal(err) // as where only the tables of the first day were granted
	}
	if _, err := r.asOwner.Exec(`REVOKE EXECUTE ON FUNCTION usage_partitions, usage_partitions_move FROM PUBLIC`); err != nil {
		t.Fatal(err)
	}
	p := launch(t, r.environ, "serve")
	line := p.stderr.await(t, `"msg":"partitions of usage_events could not be made`)
	for _, want := range []string{"calls go on being charged", "callora migrate partitions", "permission denied for function usage_partitions", `"daysAhead":-1`} {
		if !strings.Contains(line, want) {
			t.Errorf("missing %q in %s", want, line)
		}
	}
	origin := p.listening(t)
	p.stderr.await(t, `"msg":"partitions of usage_events are missing`)
	r.call(t, origin, "once")
	r.await(t, `EXISTS (SELECT FROM usage_events_default)`)
	if said := r.run(t, r.owner, "migrate", "partitions"); !strings.Contains(said, "7 days ahead; 0 usage events wait") {
		t.Errorf("migrate partitions: %s", said)
	}
	r.await(t, partitionsReady)
	r.await(t, allBooked)
	p.finish(t)
	r.run(t, r.app, "audit")
	// whoever may read usage_events may read its partitions, by their names too
	var closed []string
	if err := r.asOwner.Select(&closed, `SELECT relname FROM pg_class WHERE relname LIKE 'usage_events%' AND relkind IN ('r', 'p')
		AND NOT has_table_privilege($1::name, oid, 'SELECT')`, r.role()); err != nil || len(closed) != 0 {
		t.Errorf("the role that serves cannot read %v, %v", closed, err)
	}
}
