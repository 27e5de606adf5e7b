package config

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestAMisspeltNameIsPointedAt(t *testing.T) {
	settings := settingNames()
	for name, want := range map[string]string{
		"JWT_SECERT": "JWT_SECRET", "DATABSE_URL": "DATABASE_URL", "port": "PORT", "LOGLEVEL": "LOG_LEVEL", "log-level": "LOG_LEVEL",
		"METERING_BATCHMAX": "METERING_BATCH_MAX", "REST_RATE_LIMIT_WINDOW": "REST_RATE_LIMIT_WINDOW_MS", "NODE_EVN": "NODE_ENV",
		"CORS_ALLOWED_ORIGIN": "CORS_ALLOWED_ORIGINS", "SHUTDOWN_TIMEOUT": "SHUTDOWN_TIMEOUT_MS", "VITE_API_URL": "", "AWS_REGION": "",
	} {
		if got := strings.TrimSuffix(strings.TrimPrefix(suggestion(name, settings), ": did you mean "), "?"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, pair := range [][2]string{{"", ""}, {"a", "a"}} {
		if d := slips(pair[0], pair[1]); d != 0 {
			t.Errorf("%q: %d", pair, d)
		}
	}
	for _, pair := range [][2]string{{"ab", "ba"}, {"ab", "abc"}, {"abc", "ac"}, {"abc", "axc"}, {"", "a"}} {
		if d := slips(pair[0], pair[1]); d != 1 {
			t.Errorf("%q: %d", pair, d)
		}
	}
}

func TestLinesThatSetNothingAreNamedWithTheirNumbers(t *testing.T) {
	t.Chdir(t.TempDir())
	text := "APP_ENV=test\nDATABASE_URL=postgres://me@db/x\nJWT_SECERT=abcdefgh\nADMIN_API_KEY=abcdefgh\nMETRICS_API_KEY=abcdefgh\n" +
		"VITE_API_URL=x\nCOMPOSE_PROJECT_NAME=shop\nAPP_ENV=production\n"
	if err := os.WriteFile(".env", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range settingNames() {
		t.Setenv(name, "")
	}
	t.Setenv("METERING_SHARD", "2")
	t.Setenv("SOMEBODY_ELSES", "x")
	want := []string{
		".env, line 3: JWT_SECERT is not a setting and changes nothing: did you mean JWT_SECRET?",
		".env, line 6: VITE_API_URL is not a setting and changes nothing",
		".env, line 8: APP_ENV is set again; line 1 counts for nothing",
		"the environment's METERING_SHARD is not a setting and changes nothing: did you mean METERING_SHARDS?",
	}
	for _, name := range settingNames() { // until the end of the test, as Setenv has noted
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(DatabaseOnly)
	if err != nil || !slices.Equal(c.Notes, want) {
		t.Fatalf("got %+v, %v", c, err)
	}
	_, err = Load(Serving)
	for _, s := range append(want, "JWT_SECRET is missing") {
		if err == nil || !strings.Contains(err.Error(), "  - "+s) {
			t.Errorf("missing %q in %v", s, err)
		}
	}
}

func TestTestnetInProductionIsPointedAt(t *testing.T) {
	for network, notes := range map[string]int{"": 1, "testnet": 0, "mainnet": 0} {
		c := parse(t, "APP_ENV", "production", "STELLAR_NETWORK", network)
		if len(c.Notes) != notes {
			t.Errorf("STELLAR_NETWORK=%s: %q", network, c.Notes)
		}
	}
}

func TestTheHealthCheckAsksWhereTheServerListens(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tc := range []struct{ host, port, file, want string }{
		{"", "", "", "127.0.0.1:3000"}, {"0.0.0.0", "4000", "", "127.0.0.1:4000"}, {"::", "", "", "[::1]:3000"},
		{"192.0.2.7", "", "PORT=5000\n", "192.0.2.7:5000"}, {"", "4000", "HOST=localhost\nPORT=5000\n", "localhost:4000"},
	} {
		t.Setenv("HOST", tc.host)
		t.Setenv("PORT", tc.port)
		if err := os.WriteFile(".env", []byte(tc.file), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := CheckAddress(); err != nil || got != tc.want {
			t.Errorf("%+v: got %s, %v", tc, got, err)
		}
	}
	if err := os.WriteFile(".env", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckAddress(); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v", err)
	}
}
