package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/app/charging"
)

// valid is the least environment that serves.
func valid() map[string]string {
	return map[string]string{
		"APP_ENV": "development", "DATABASE_URL": "postgres://me:hunter22@db:5432/callora", "JWT_SECRET": "jwt-secret-0123456789-0123456789-x",
		"ADMIN_API_KEY": "admin-secret-0123456789-0123456789", "METRICS_API_KEY": "metrics-secret-0123456789-01234567",
	}
}

func with(pairs ...string) map[string]string {
	environ := valid()
	for i := 0; i < len(pairs); i += 2 {
		environ[pairs[i]] = pairs[i+1]
	}
	return environ
}

func parse(t *testing.T, pairs ...string) *Config {
	t.Helper()
	c, err := Parse(with(pairs...), Serving)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultsFollowTheReference(t *testing.T) {
	c := parse(t)
	if c.Port != 3000 || c.Production() || c.LogLevel != "info" || c.Rest.RequestLimit != 100<<10 || c.Gateway.CallLimit != 1<<20 ||
		c.Gateway.RateLimit != 600 || c.Gateway.Timeout.D() != 30*time.Second || c.Metering.Mode != charging.Durable ||
		c.Stellar.Network != "testnet" || c.Rest.RateMax != 100 || c.Rest.KeyGrace.D() != 24*time.Hour ||
		!slices.Equal(c.Origins, []string{"http://localhost:5173"}) || c.Gateway.HostAllowlist != nil || c.Gateway.Ranges() != nil {
		t.Errorf("got %+v", c)
	}
}

func TestEveryMistakeIsReportedAtOnceWithoutAnyValueOfASecret(t *testing.T) {
	environ := map[string]string{
		"NODE_ENV": "production", "JWT_SECRET": "short-s3cret", "METRICS_API_KEY": strings.Repeat("s3cret", 6),
		"ADMIN_API_KEY": strings.Repeat("s3cret", 6), "DATABASE_URL": "mysql://me:s3cret@db/x", "PORT": "http", "LOG_LEVEL": "loud",
		"GATEWAY_BODY_LIMIT": "huge", "PROXY_TIMEOUT_MS": "30s", "METERING_MODE": "later", "GATEWAY_IP_ALLOWED_RANGES": "10.0.0.0/99",
		"UPSTREAM_URL": "ftp://x", "SOROBAN_NETWORK": "moonnet", "HORIZON_ENABLED": "yes please", "SOROBAN_RPC_ENABLED": "true",
		"METERING_SHARDS": "0", "CORS_ALLOWED_ORIGINS": "example.com", "LEASE_TTL_MS": "5", "REST_RATE_LIMIT_MAX_REQUESTS": "-1",
		"DEV_USER_HEADER_FROM": "loopback", "TRUSTED_PROXIES": "the proxy",
	}
	_, err := Parse(environ, Serving)
	var mistakes Error
	if !errors.As(err, &mistakes) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"JWT_SECRET is too short: it must have at least 32 characters in production",
		"METRICS_API_KEY must differ from ADMIN_API_KEY in production",
		"DATABASE_URL must look like postgres://user:password@host:5432/database",
		"PORT must be a whole number",
		"LOG_LEVEL must be trace, debug, info, warn, error or fatal",
		`GATEWAY_BODY_LIMIT must be a size such as "100kb" or "1mb"`,
		"PROXY_TIMEOUT_MS must be a whole number of milliseconds, 0 or more",
		"METERING_MODE must be durable or async",
		"GATEWAY_IP_ALLOWED_RANGES must be addresses or ranges separated by commas, such as 10.0.0.0/8,192.0.2.7,loopback",
		"DEV_USER_HEADER_FROM must be blank in production: whoever sends X-User-Id from there would be any user",
		"TRUSTED_PROXIES must be addresses or ranges separated by commas, such as 10.0.0.0/8,192.0.2.7,loopback",
		"UPSTREAM_URL must be a URL that begins with http:// or https:// and has a host and no user name or password",
		"STELLAR_NETWORK (or SOROBAN_NETWORK) must be testnet or mainnet",
		"HORIZON_ENABLED must be true or false",
		"SOROBAN_RPC_URL is missing: SOROBAN_RPC_ENABLED is true",
		"METERING_SHARDS must be 1 or more",
		"CORS_ALLOWED_ORIGINS must be origins separated by commas, such as https://app.example.com",
		"LEASE_TTL_MS must be 1000 milliseconds or more",
		"REST_RATE_LIMIT_MAX_REQUESTS must be 1 or more",
	} {
		if !slices.Contains(mistakes, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if len(mistakes) != 19 {
		t.Errorf("%d mistakes:\n%v", len(mistakes), err)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a secret's value is in the message:\n%v", err)
	}
}

func TestNothingSetNamesAllThatIsRequired(t *testing.T) {
	_, err := Parse(map[string]string{"JWT_SECRET": " ", "ADMIN_API_KEY": ""}, Serving)
	var mistakes Error
	if !errors.As(err, &mistakes) || len(mistakes) != 5 {
		t.Fatalf("got %v", err)
	}
	for i, name := range []string{"ADMIN_API_KEY", "APP_ENV", "DATABASE_URL", "JWT_SECRET", "METRICS_API_KEY"} {
		if !strings.HasPrefix(mistakes[i], name+" is missing: ") {
			t.Errorf("got %q", mistakes[i])
		}
	}
}

func TestWorkOnTheDatabaseNeedsNoSecrets(t *testing.T) {
	if _, err := Parse(map[string]string{"DATABASE_URL": "postgres://me@db/callora"}, DatabaseOnly); err != nil {
		t.Error(err)
	}
}

func TestTheDatabaseMayBeNamedInParts(t *testing.T) {
	environ := with("DB_HOST", "db.internal", "DB_PASSWORD", "p@ss/word")
	delete(environ, "DATABASE_URL")
	c, err := Parse(environ, Serving)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(c.Database.URL), "postgres://postgres:p%40ss%2Fword@db.internal:5432/callora"; got != want {
		t.Errorf("got %s", got)
	}
	if !slices.Contains(c.Secrets(), "p@ss/word") {
		t.Error("the password is not among the secrets of the log")
	}
}

func TestPrismasParametersAreTranslatedForTheDriver(t *testing.T) {
	c := parse(t, "DATABASE_URL", "postgresql://me:hunter22@db:5432/callora?schema=shop&connection_limit=5&sslmode=disable&pgbouncer=true")
	if got, want := string(c.Database.URL), "postgresql://me:hunter22@db:5432/callora?search_path=shop&sslmode=disable"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestTheFirstNameOfAVariableWins(t *testing.T) {
	if c := parse(t, "APP_ENV", "", "NODE_ENV", "test", "SOROBAN_NETWORK", "mainnet"); c.Env != "test" || c.Stellar.Network != "mainnet" {
		t.Errorf("aliases: got %s, %s", c.Env, c.Stellar.Network)
	}
	c := parse(t, "NODE_ENV", "production", "APP_ENV", "test", "SOROBAN_NETWORK", "mainnet", "STELLAR_NETWORK", "testnet")
	if c.Env != "test" || c.Stellar.Network != "testnet" {
		t.Errorf("got %s, %s", c.Env, c.Stellar.Network)
	}
}

func TestListsSizesAndRanges(t *testing.T) {
	c := parse(t, "UPSTREAM_HOST_ALLOWLIST", " a:80, ,b ", "GATEWAY_IP_ALLOWED_RANGES", "10.1.2.3/8, ::1,192.0.2.7",
		"GATEWAY_BODY_LIMIT", "2 MB", "REQUEST_BODY_LIMIT", "512", "UPSTREAM_URL", "http://localhost:4000", "APP_ENV", "test")
	if !slices.Equal(c.Gateway.HostAllowlist, []string{"a:80", "b"}) || c.Gateway.CallLimit != 2<<20 || c.Rest.RequestLimit != 512 ||
		c.Gateway.LegacyUpstream.Host != "localhost:4000" {
		t.Errorf("got %+v", c.Gateway)
	}
	if from := parse(t, "DEV_USER_HEADER_FROM", " loopback, 10.1.0.0/16").UserHeaderFrom; !slices.Equal(from,
		Ranges{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.1.0.0/16")}) {
		t.Errorf("got %v", from)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("192.0.2.7/32")}
	if !slices.Equal(c.Gateway.Ranges(), want) {
		t.Errorf("got %v", c.Gateway.Ranges())
	}
	c = parse(t, "GATEWAY_IP_ALLOWED_RANGES", "10.0.0.0/8", "GATEWAY_IP_ALLOWLIST_ENABLED", "false")
	if c.Gateway.Ranges() != nil {
		t.Error("a list that is turned off still holds")
	}
	for _, bad := range []string{"0", "-1kb", "1.5mb", "kb", "99999999999", "+1kb"} {
		var s Size
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("the size %q was accepted", bad)
		}
	}
	for _, bad := range []string{"-1", "1s", "1e3", "99999999999999999"} {
		var m Millis
		if m.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("the time %q was accepted", bad)
		}
	}
}

func TestWhatIsLeftOutIsTheSafeChoice(t *testing.T) {
	for _, tc := range []struct{ env, host, want string }{
		{"production", "", ""}, {"development", "", "127.0.0.1"}, {"test", "", "127.0.0.1"},
		{"development", "0.0.0.0", "0.0.0.0"}, {"production", "10.0.0.7", "10.0.0.7"},
	} {
		if got := parse(t, "APP_ENV", tc.env, "HOST", tc.host).ListenHost(); got != tc.want {
			t.Errorf("%s with HOST=%s listens on %q, want %q", tc.env, tc.host, got, tc.want)
		}
	}
	if c := parse(t); c.UserHeaderFrom != nil || c.TrustProxy || c.TrustedProxies != nil {
		t.Errorf("somebody is believed unasked: %+v", c)
	}
	_, err := Parse(with("TRUST_PROXY_HEADERS", "true", "TRUSTED_PROXIES", "10.0.0.0/8"), Serving)
	if err == nil || !strings.Contains(err.Error(), "TRUST_PROXY_HEADERS must be blank or false beside TRUSTED_PROXIES") {
		t.Errorf("two answers to one question: %v", err)
	}
}

func TestASecretDoesNotPrint(t *testing.T) {
	c := parse(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, *c); strings.Contains(got, "0123456789-0123456789") || strings.Contains(got, "hunter22") {
			t.Errorf("%s prints a secret", verb)
		}
	}
}

// values are the file's settings.
func values(path string) (map[string]string, error) {
	lines, err := readDotenv(path)
	out := map[string]string{}
	for _, l := range lines {
		out[l.key] = l.value
	}
	return out, err
}

func TestDotenv(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	text := "\ufeff# c\n\nA=1\nexport B = two words # note\nC=\"quoted # not a note\"\nD='x'\r\nE=\nF=#none\nG=a#b\nH=\"open\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := values(path)
	want := map[string]string{"A": "1", "B": "two words", "C": "quoted # not a note", "D": "x", "E": "", "F": "", "G": "a#b", "H": `"open`}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := values(path + "x"); err != nil || len(got) != 0 {
		t.Errorf("a missing file: %v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("A=1\nnonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := values(path); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

// The three places that tell of variables agree: the struct, .env.example and the README's table.
func TestEveryVariableIsDocumented(t *testing.T) {
	defaults, fields := map[string]string{}, map[string]bool{}
	eachVariable(reflect.TypeFor[Config](), func(f reflect.StructField, name string) {
		if fields[f.Name] {
			t.Errorf("two fields of Config are called %s", f.Name)
		}
		fields[f.Name], defaults[name] = true, f.Tag.Get("envDefault")
	})

	example := read(t, "../../../.env.example")
	listed, err := values("../../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	if env := listed["APP_ENV"]; env != "development" { // it has no default; a copied file is a developer's
		t.Errorf(".env.example says APP_ENV=%s", env)
	}
	listed["APP_ENV"] = ""
	if !maps.Equal(listed, defaults) {
		t.Errorf(".env.example and Config differ:\n%v\n%v", listed, defaults)
	}
	readme := read(t, "../../../README.md")
	for name, value := range defaults {
		if !strings.Contains(example, ".\n"+name+"=") && !strings.Contains(example, ")\n"+name+"=") && !strings.Contains(example, "32\n"+name+"=") {
			t.Errorf(".env.example has no sentence above %s", name)
		}
		shown := value
		if shown == "" {
			shown = "–"
		} else {
			shown = "`" + shown + "`"
		}
		if row := "| `" + name + "` | " + shown + " |"; !strings.Contains(readme, row) {
			t.Errorf("README.md has no row %s", row)
		}
	}
	for _, alias := range aliases {
		if !strings.Contains(example, alias) || !strings.Contains(readme, alias) {
			t.Errorf("the alias %s is not documented", alias)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
