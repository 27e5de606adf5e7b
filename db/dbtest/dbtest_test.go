package dbtest

import (
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

// exists tells whether the server has the database of the address.
func exists(t *testing.T, address string) bool {
	t.Helper()
	name := address[strings.LastIndex(address, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	var there bool
	if err := New(t).Get(&there, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name); err != nil {
		t.Fatal(err)
	}
	return there
}

func TestEachTestHasAMigratedDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	a.MustExec(`INSERT INTO users (id) VALUES ('0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b')`)
	var n int
	if err := b.Get(&n, `SELECT count(*) FROM users`); err != nil || n != 0 {
		t.Errorf("%d users, %v", n, err)
	}
}

func TestDatabasesAreDroppedWithTheirTest(t *testing.T) {
	t.Parallel()
	var migrated, empty string
	t.Run("a test", func(t *testing.T) {
		migrated, empty = URL(t), Empty(t)
		open(t, empty).MustExec(`CREATE TABLE users ()`) // fails when there is one
		if !exists(t, migrated) || !exists(t, empty) {
			t.Error("not there")
		}
	})
	if exists(t, migrated) || exists(t, empty) {
		t.Error("still there")
	}
}

func TestAGivenServerIsUsed(t *testing.T) {
	t.Parallel()
	s, err := givenServer(server(t).urlOf("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := open(t, s.migrated(t)).Get(&n, `SELECT count(*) FROM users`); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"localhost", "mysql://localhost", "postgres://%zz"} {
		if _, err := givenServer(wrong); err == nil || !strings.Contains(err.Error(), Env) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestCommitsSurviveTheKillOfAPrivateServer(t *testing.T) {
	t.Parallel()
	s := NewServer(t)
	db, err := sqlx.Connect("postgres", s.DatabaseURL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.MustExec(`INSERT INTO users (id) VALUES ('0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b')`)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := open(t, s.DatabaseURL()).Get(&n, `SELECT count(*) FROM users`); err != nil || n != 1 {
		t.Errorf("%d users, %v", n, err)
	}
}
