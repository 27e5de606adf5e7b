package postgres

import (
	"net/url"
	"testing"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

func TestASessionHasOurParametersUnlessItIsToldOtherwise(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	setting := func(t *testing.T, c Config, name string) (value string) {
		t.Helper()
		db, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Get(&value, `SELECT current_setting($1)`, name); err != nil {
			t.Fatal(err)
		}
		return value
	}
	for name, want := range map[string]string{
		"idle_in_transaction_session_timeout": "5s", "tcp_user_timeout": "15000",
		"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "jit": "off",
	} {
		if got := setting(t, Config{URL: address}, name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	const idle = "idle_in_transaction_session_timeout"
	if got := setting(t, Config{URL: address + "&" + idle + "=7000"}, idle); got != "7s" {
		t.Errorf("the URL's own setting became %s", got)
	}
	if got := setting(t, Config{URL: address, Settings: map[string]string{idle: "8000"}}, idle); got != "8s" {
		t.Errorf("the pool's own setting became %s", got)
	}
	if got := setting(t, Config{URL: address + "&plan_cache_mode=auto", Settings: map[string]string{"plan_cache_mode": "force_generic_plan"}}, "plan_cache_mode"); got != "auto" {
		t.Errorf("the URL's setting lost to the pool's: %s", got)
	}
	db := dbtest.New(t)
	var name string
	if err := db.Get(&name, `SELECT current_database()`); err != nil {
		t.Fatal(err)
	}
	db.MustExec(`ALTER DATABASE ` + name + ` SET ` + idle + ` = 9000`)
	if got := setting(t, Config{URL: swapDatabase(t, address, name)}, idle); got != "9s" {
		t.Errorf("the database's own setting became %s", got)
	}
}

func TestLocksOfAClientThatVanishedAreFreeSoon(t *testing.T) {
	t.Parallel()
	p, beyond, address := beyond(t, func(c *Config) { c.Settings = map[string]string{"idle_in_transaction_session_timeout": "200"} })
	direct, err := Open(t.Context(), Config{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	direct.MustExec(`CREATE TABLE things (n int)`)
	tx := beyond.MustBegin()
	tx.MustExec(`LOCK TABLE things`)
	p.Silence()
	if _, err := direct.ExecContext(within(t, patience), `LOCK TABLE things; SELECT 1`); err != nil {
		t.Error(err)
	}
}

func swapDatabase(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}
