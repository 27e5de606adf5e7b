package main

import (
	"context"
	"maps"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the database under the processes

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// serving is the environment of a server on a database.
func servingOn(database string, more ...string) map[string]string {
	environ := map[string]string{
		"APP_ENV": "development", "DATABASE_URL": database, "JWT_SECRET": "jwt-secret-0123456789-0123456789-x", "HOST": "127.0.0.1", "PORT": "0",
		"ADMIN_API_KEY": "admin-secret-0123456789-0123456789", "METRICS_API_KEY": "metrics-secret-0123456789-01234567",
	}
	for i := 0; i < len(more); i += 2 {
		environ[more[i]] = more[i+1]
	}
	return environ
}

func database(t *testing.T, address string) *sqlx.DB {
	t.Helper()
	handle, err := sqlx.Connect("postgres", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	return handle
}

func TestServeReportsAllMistakesAndEndsWithOne(t *testing.T) {
	t.Parallel()
	p := launch(t, map[string]string{"PORT": "http", "JWT_SECRET": "s3cret", "LOG_LEVEL": "loud"}, "serve")
	code, text := p.exit(t), p.stderr.text()
	for _, want := range []string{"PORT must be", "JWT_SECRET is too short", "LOG_LEVEL must be", "DATABASE_URL is missing", "ADMIN_API_KEY is missing", "APP_ENV is missing: set it to ", "METRICS_API_KEY is missing"} {
		if !strings.Contains(text, "  - "+want) {
			t.Errorf("missing: %s", want)
		}
	}
	if code != 1 || p.stdout.text() != "" || strings.Contains(text, "s3cret") {
		t.Errorf("code %d, %s", code, text)
	}
}

func TestServeAsksForItsEnvironment(t *testing.T) {
	t.Parallel()
	environ := servingOn("postgres://me@127.0.0.1:1/callora")
	delete(environ, "APP_ENV")
	p := launch(t, environ, "serve")
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), "APP_ENV is missing: set it to development, production or test") {
		t.Errorf("code %d, %s", code, p.stderr.text())
	}
}

// Who copied .env.example and filled in its secrets serves nobody but this machine, and believes no one's X-User-Id.
func TestADeveloperServesNobodyElse(t *testing.T) {
	t.Parallel()
	environ := servingOn(dbtest.URL(t))
	delete(environ, "HOST")
	const user = "01980000-0000-7000-8000-000000000001"
	for from, want := range map[string]int{"": 401, "loopback": 200} {
		environ["DEV_USER_HEADER_FROM"] = from
		p := launch(t, environ, "serve")
		origin := p.listening(t)
		if !strings.HasPrefix(origin, "http://127.0.0.1:") {
			t.Errorf("listens on %s", origin)
		}
		if res, body := get(t, origin+"/api/keys", "X-User-Id", user); res.StatusCode != want {
			t.Errorf("DEV_USER_HEADER_FROM=%s: X-User-Id gets %s %s", from, res.Status, body)
		}
		if res, body := get(t, origin+"/api/keys", "X-User-Id", user, "X-Forwarded-For", "127.0.0.1"); res.StatusCode != 401 {
			t.Errorf("DEV_USER_HEADER_FROM=%s: X-User-Id through a proxy gets %s %s", from, res.Status, body)
		}
		p.finish(t)
	}
}

func TestServeWithoutADatabaseSaysWhereItLooked(t *testing.T) {
	t.Parallel()
	p := launch(t, servingOn("postgres://me:s3cret@127.0.0.1:1/callora"), "serve")
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), "cannot reach the database at 127.0.0.1:1") || strings.Contains(p.stderr.text(), "s3cret") {
		t.Errorf("code %d, %s", code, p.stderr.text())
	}
}

func TestServeRefusesAnOldSchemaAndNamesTheCommand(t *testing.T) {
	t.Parallel()
	address := dbtest.Empty(t)
	p := launch(t, servingOn(address), "serve")
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), "callora migrate up") {
		t.Fatalf("code %d, %s", code, p.stderr.text())
	}
	only := map[string]string{"DATABASE_URL": address}
	for _, command := range []string{"audit", "seed"} {
		if m := launch(t, only, command); m.exit(t) != 1 || !strings.Contains(m.stderr.text(), "it is at version 0") || !strings.Contains(m.stderr.text(), "run `callora migrate up`") {
			t.Errorf("%s on an empty schema: %s", command, m.stderr.text())
		}
	}
	if m := launch(t, only, "migrate", "version"); m.exit(t) != 1 || !strings.Contains(m.stdout.text(), "at version 0") {
		t.Errorf("version: %s", m.stdout.text())
	}
	if m := launch(t, only, "migrate", "up"); m.exit(t) != 0 || !strings.Contains(m.stdout.text(), "Applied ") {
		t.Errorf("up: %s%s", m.stdout.text(), m.stderr.text())
	}
	if m := launch(t, only, "migrate", "status"); m.exit(t) != 0 || strings.Contains(m.stdout.text(), "missing") || !strings.Contains(m.stdout.text(), "applied") {
		t.Errorf("status: %s", m.stdout.text())
	}
	p = launch(t, servingOn(address), "serve")
	p.listening(t)
	p.finish(t)
	if m := launch(t, only, "migrate", "down"); m.exit(t) != 0 || !strings.Contains(m.stdout.text(), "Took back 1 ") {
		t.Errorf("down: %s%s", m.stdout.text(), m.stderr.text())
	}
	if m := launch(t, only, "migrate", "--all", "down"); m.exit(t) != 0 || !strings.Contains(m.stdout.text(), "at version 0") {
		t.Errorf("down --all: %s%s", m.stdout.text(), m.stderr.text())
	}
}

func TestAPoolerThatSharesSessionsIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"serve"}, {"migrate", "up"}, {"audit"}} {
		address := (&dbtest.Pooler{Keep: 2}).Before(t, dbtest.URL(t))
		p := launch(t, servingOn(address), args...)
		if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), "use pool_mode = session") {
			t.Errorf("%v: code %d, %s", args, code, p.stderr.text())
		}
	}
	p := launch(t, servingOn((&dbtest.Pooler{Sessions: true}).Before(t, dbtest.URL(t))), "serve")
	p.listening(t)
	p.finish(t)
}

func TestTwoServersOnAnEmptyDatabaseMigrateOnce(t *testing.T) {
	t.Parallel()
	address := dbtest.Empty(t)
	one := launch(t, servingOn(address), "serve", "--migrate")
	two := launch(t, servingOn(address, "MIGRATE_ON_START", "true"), "serve")
	for _, p := range []*process{one, two} {
		if res, body := get(t, p.listening(t)+"/api/health"); res.StatusCode != 200 {
			t.Errorf("health: %s %s", res.Status, body)
		}
	}
	said := one.stderr.text() + two.stderr.text()
	if n := strings.Count(said, `"msg":"migrated"`); n != 1 {
		t.Errorf("%d servers migrated:\n%s", n, said)
	}
	one.finish(t)
	two.finish(t)
}

// seeded is a database with the marketplace, whose upstreams are at upstream, and the consumer's key.
func seeded(t *testing.T, upstream string) (address, key string) {
	t.Helper()
	address = dbtest.URL(t)
	environ := map[string]string{"DATABASE_URL": address}
	p := launch(t, environ, "seed", "--upstream", upstream)
	if code := p.exit(t); code != 0 {
		t.Fatalf("seed: code %d, %s", code, p.stderr.text())
	}
	lines := strings.Fields(p.stdout.text())
	again := launch(t, environ, "seed", "--upstream", upstream)
	if code := again.exit(t); code != 0 || strings.Contains(again.stdout.text(), "ck_live_") {
		t.Errorf("seeding twice: code %d, %s", code, again.stdout.text())
	}
	return address, lines[len(lines)-1]
}

func TestASeedStaysOutOfWhatMayBeProduction(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	if _, err := database(t, address).Exec(`INSERT INTO users (id) VALUES (gen_random_uuid())`); err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{"production": "APP_ENV is production", "": "APP_ENV is missing, and the database has users"} {
		p := launch(t, map[string]string{"DATABASE_URL": address, "APP_ENV": env}, "seed")
		if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), want) {
			t.Errorf("APP_ENV=%s: code %d, %s", env, code, p.stderr.text())
		}
	}
	var apis int
	if err := database(t, address).Get(&apis, `SELECT count(*) FROM apis`); err != nil || apis != 0 {
		t.Errorf("%d APIs were written, %v", apis, err)
	}
	for _, args := range [][]string{{"APP_ENV", "development", "seed"}, {"APP_ENV", "", "seed", "--force"}} {
		if p := launch(t, map[string]string{"DATABASE_URL": address, args[0]: args[1]}, args[2:]...); p.exit(t) != 0 {
			t.Errorf("%q: %s", args, p.stderr.text())
		}
	}
}

func TestTheHealthCheckOfContainers(t *testing.T) {
	t.Parallel()
	p := launch(t, servingOn(dbtest.URL(t)), "serve")
	u, err := url.Parse(p.listening(t))
	if err != nil {
		t.Fatal(err)
	}
	if c := launch(t, map[string]string{"PORT": u.Port()}, "serve", "--check"); c.exit(t) != 0 {
		t.Errorf("not healthy: %s", c.stderr.text())
	}
	p.finish(t)
	if c := launch(t, map[string]string{"PORT": u.Port()}, "serve", "--check"); c.exit(t) != 1 {
		t.Error("healthy when gone")
	}
}

// The port is found first: a server that cannot serve does not migrate.
func TestATakenPortIsFoundBeforeAnythingIsBegun(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	address := dbtest.Empty(t)
	p := launch(t, servingOn(address, "PORT", port), "serve", "--migrate")
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), "cannot listen on port "+port+": another program has it") {
		t.Errorf("code %d, %s", code, p.stderr.text())
	}
	var tables int
	if err := database(t, address).Get(&tables, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); err != nil || tables != 0 {
		t.Errorf("%d tables were made, %v", tables, err)
	}
}

func TestMisspeltNamesAreLogged(t *testing.T) {
	t.Parallel()
	environ := servingOn(dbtest.URL(t), "METERING_MODUS", "async")
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/.env", []byte("\nLOG_LEVLE=trace\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launchIn(t, dir, environ, "serve")
	p.stderr.await(t, `"level":"warn"`)
	p.listening(t)
	p.finish(t)
	audit := launchIn(t, dir, environ, "audit")
	if code := audit.exit(t); code != 0 {
		t.Errorf("audit: code %d", code)
	}
	for _, log := range []string{p.stderr.text(), audit.stderr.text()} {
		for _, want := range []string{".env, line 2: LOG_LEVLE is not a setting and changes nothing: did you mean LOG_LEVEL?", "METERING_MODUS is not a setting and changes nothing: did you mean METERING_MODE?"} {
			if !strings.Contains(log, want) {
				t.Errorf("missing %q in %s", want, log)
			}
		}
	}
}

func TestADotenvFileIsRead(t *testing.T) {
	t.Parallel()
	environ := servingOn(dbtest.URL(t))
	var text strings.Builder
	for k, v := range maps.All(environ) {
		text.WriteString(k + "=" + v + "\n")
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/.env", []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launchIn(t, dir, nil, "serve")
	p.listening(t)
	p.finish(t)
}

func TestPassesBookRevenueAndNoteTheUseOfKeys(t *testing.T) {
	t.Parallel()
	upstream := newGate(t)
	close(upstream.open)
	address, key := seeded(t, upstream.URL)
	p := launch(t, servingOn(address, "UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://"), "LEASE_TTL_MS", "1000", "LEASE_IDLE_MS", "50",
		"REVENUE_LEDGER_INDEXER_INTERVAL_MS", "50", "KEY_LAST_USED_INTERVAL_MS", "50", "LOG_LEVEL", "info"), "serve")
	if res, body := get(t, p.listening(t)+"/v1/call/weather/forecast", "X-Api-Key", key); res.StatusCode != 200 {
		t.Fatalf("the call: %s %s", res.Status, body)
	}
	handle := database(t, address)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for booked := false; !booked; {
		err := handle.GetContext(ctx, &booked, `SELECT (SELECT count(*) FROM revenue_ledger) = 1
			AND EXISTS (SELECT FROM api_keys WHERE last_used_at IS NOT NULL) FROM pg_sleep(0.02)`)
		if err != nil {
			t.Fatalf("no revenue was booked: %v", err)
		}
	}
	p.stderr.await(t, `"job":"revenue-ledger"`)
	p.finish(t)
}
