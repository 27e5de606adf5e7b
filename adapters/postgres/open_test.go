package postgres

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

func TestOpenReachesTheDatabaseUnderItsName(t *testing.T) {
	t.Parallel()
	db, err := Open(t.Context(), Config{URL: dbtest.URL(t), ApplicationName: "callora-test", MaxOpen: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var name string
	if err := db.Get(&name, `SELECT current_setting('application_name')`); err != nil || name != "callora-test" {
		t.Errorf("application_name = %q, %v", name, err)
	}
	if most := db.Stats().MaxOpenConnections; most != 3 {
		t.Errorf("at most %d connections, want 3", most)
	}
}

func TestOpenSaysWhereItLookedAndNeverThePassword(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for name, tc := range map[string]struct{ url, want string }{
		"nobody there":        {"postgres://u:hunter22@" + nobody + "/shop?sslmode=disable", nobody + ` (database "shop")`},
		"not a URL":           {"postgres://u:hunter22@[::1/x", "want postgres://"},
		"another scheme":      {"mysql://u:hunter22@localhost/x", "want postgres://"},
		"bad parameter":       {"postgres://u:hunter22@localhost/x?sslmode=maybe", "sslmode"},
		"password in message": {"postgres://u:maybe@localhost/x?sslmode=maybe", "not understood"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), Config{URL: tc.url})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter22") {
				t.Errorf("error = %v, want one with %q and without the password", err, tc.want)
			}
		})
	}
}

func TestOpenGivesUpOnAServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, err = Open(t.Context(), Config{
		URL: "postgres://u@" + silent.Addr().String() + "/x?sslmode=disable", ConnectTimeout: 100 * time.Millisecond,
	})
	if err == nil || !strings.Contains(err.Error(), silent.Addr().String()) {
		t.Errorf("error = %v, want one that names the server", err)
	}
}

func TestTheURLsOwnSettingsWin(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		url     string
		app     string
		ssl     pq.SSLMode
		timeout time.Duration
	}{
		"nothing said": {"postgres://u@h/x", "callora", pq.SSLModePrefer, 5 * time.Second},
		"all said": {
			"postgres://u@h/x?application_name=mine&sslmode=require&connect_timeout=9", "mine", pq.SSLModeRequire, 9 * time.Second,
		},
		"pairs":     {"host=h user=u", "callora", pq.SSLModePrefer, 5 * time.Second},
		"pairs too": {"host=h user=u application_name='my app' sslmode=disable", "my app", pq.SSLModeDisable, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, err := Config{URL: tc.url}.filled().dsn()
			if err != nil {
				t.Fatal(err)
			}
			got, err := pq.NewConfig(dsn)
			if err != nil {
				t.Fatalf("%s: %v", dsn, err)
			}
			if got.ApplicationName != tc.app || got.SSLMode != tc.ssl || got.ConnectTimeout != tc.timeout || got.Host != "h" {
				t.Errorf("%s: %q, %q, %v at %q", dsn, got.ApplicationName, got.SSLMode, got.ConnectTimeout, got.Host)
			}
		})
	}
}

func TestAPasswordWithOddCharactersSurvives(t *testing.T) {
	t.Parallel()
	const odd = `p@ss/w?rd &'"\% ü`
	u := url.URL{Scheme: "postgres", User: url.UserPassword("u", odd), Host: "h", Path: "/x"}
	dsn, err := Config{URL: u.String()}.filled().dsn()
	if err != nil {
		t.Fatal(err)
	}
	got, err := pq.NewConfig(dsn)
	if err != nil || got.Password != odd {
		t.Errorf("password = %q, %v; want %q", got.Password, err, odd)
	}
}
