package pgserver

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "github.com/lib/pq"
)

// run starts a server that is stopped at the end of the test.
func run(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func open(t *testing.T, address string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func do(t *testing.T, db *sql.DB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := db.ExecContext(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	}
}

func ask(t *testing.T, db *sql.DB, query string) (answer string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestAServerIsPrivate(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := run(t, Config{Log: &log, Settings: map[string]string{"max_connections": "37"}})
	db := open(t, s.URL("postgres"))
	for setting, want := range map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "server_encoding": "UTF8", "TimeZone": "UTC", "fsync": "off",
		"max_connections": "37", "password_encryption": "scram-sha-256",
	} {
		if got := ask(t, db, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	wrong, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	wrong.User = url.UserPassword(superuser, "guess")
	if err := open(t, wrong.String()).PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("a wrong password: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "ready to accept connections") {
		t.Errorf("the log is %q", log.String())
	}
}

func TestServersDoNotCollide(t *testing.T) {
	t.Parallel()
	a, b := run(t, Config{}), run(t, Config{})
	do(t, open(t, a.URL("postgres")), "CREATE TABLE mine ()")
	if got := ask(t, open(t, b.URL("postgres")), "SELECT to_regclass('mine') IS NULL"); got != "true" {
		t.Error("two servers share a database")
	}
}

func TestStopLeavesNothingOfAThrowAwayServer(t *testing.T) {
	t.Parallel()
	s := run(t, Config{})
	db := open(t, s.URL("postgres"))
	do(t, db, "SELECT 1") // an open session does not hold it up
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if !gone(s.dir) {
		t.Errorf("%s is left", s.dir)
	}
	if db.PingContext(t.Context()) == nil {
		t.Error("it still answers")
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the second stop: %v", err)
	}
}

func TestAKeptFolderIsUsedAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := run(t, Config{DataDir: dir, Durable: true})
	do(t, open(t, s.URL("postgres")), "CREATE TABLE kept ()")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	again := run(t, Config{DataDir: dir, Durable: true})
	db := open(t, again.URL("postgres"))
	if ask(t, db, "SELECT to_regclass('kept')") != "kept" || ask(t, db, "SHOW fsync") != "on" {
		t.Error("the data is lost, or not safe")
	}
}

func TestKillIsACrashAndRestartRecovers(t *testing.T) {
	t.Parallel()
	s := run(t, Config{Durable: true})
	db := open(t, s.URL("postgres"))
	do(t, db, "CREATE TABLE facts (n int)", "INSERT INTO facts VALUES (1)")
	address := s.URL("postgres")
	for range 3 {
		tx, err := open(t, address).Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("INSERT INTO facts VALUES (2)"); err != nil {
			t.Fatal(err)
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if tx.Commit() == nil {
			t.Error("a transaction commits on a dead server")
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.URL("postgres") != address {
			t.Error("it has moved")
		}
		if got := ask(t, open(t, address), "SELECT sum(n) FROM facts"); got != "1" {
			t.Errorf("the sum is %s", got)
		}
	}
}

func TestAPortLostInARaceIsReplaced(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tries := 0
	s, err := startOn(t.Context(), Config{}, func() (int, error) {
		if tries++; tries == 1 {
			return taken.Addr().(*net.TCPAddr).Port, nil
		}
		return freePort()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil || tries != 2 {
		t.Errorf("%d tries, %v", tries, err)
	}
	_, err = startOn(t.Context(), Config{}, func() (int, error) { return taken.Addr().(*net.TCPAddr).Port, nil })
	if err == nil || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("with no other port: %v", err)
	}
	none := errors.New("no port")
	if _, err = startOn(t.Context(), Config{}, func() (int, error) { return 0, none }); !errors.Is(err, none) {
		t.Errorf("with no port: %v", err)
	}
}

func TestAServerThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Start(t.Context(), Config{DataDir: dir, Log: &bytes.Buffer{}, Settings: map[string]string{"nonsense": "1"}})
	if err == nil || !strings.Contains(err.Error(), "unrecognized configuration parameter") {
		t.Errorf("a wrong setting: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{DataDir: filepath.Join(file, "dir")}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a folder in a file: %v", err)
	}
}

func TestAFolderOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	theirs := filepath.Join(dir, "cluster", "PG_VERSION")
	if err := os.Mkdir(filepath.Dir(theirs), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, []byte("9.6"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("it was taken: %v", err)
	}
	if text, err := os.ReadFile(theirs); err != nil || string(text) != "9.6" {
		t.Errorf("it was changed: %q, %v", text, err)
	}
}

func TestAHalfMadeClusterIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "cluster.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := run(t, Config{DataDir: dir})
	do(t, open(t, s.URL("postgres")), "SELECT 1")
}

func TestPortsAreNotThoseOfOutgoingConnections(t *testing.T) {
	t.Parallel()
	for range 200 {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		if port < firstPort || port >= 32768 {
			t.Fatal(strconv.Itoa(port))
		}
	}
}
