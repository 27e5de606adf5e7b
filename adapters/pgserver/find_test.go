//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePrograms makes a folder with the named programs of a PostgreSQL of the version.
func fakePrograms(t *testing.T, version string, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fakeProgram(version)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func fakeProgram(version string) string {
	return fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && echo 'postgres (PostgreSQL) %s'\n", version)
}

// lookOnlyIn makes the machine one that has these folders and nothing else.
func lookOnlyIn(t *testing.T, path []string, elsewhere ...string) {
	t.Helper()
	t.Setenv(BinEnv, "")
	t.Setenv("PATH", strings.Join(path, string(os.PathListSeparator)))
	old := places
	places = elsewhere
	t.Cleanup(func() { places = old })
}

var all = []string{"postgres", "initdb", "pg_ctl"}

func TestTheNewestWholePostgresIsFound(t *testing.T) {
	lone := fakePrograms(t, "18.1", "postgres") // a wrapper, say
	beta, good := fakePrograms(t, "19beta1", all...), fakePrograms(t, "16.4 (Debian 16.4-1)", all...)
	older, ancient := fakePrograms(t, "15.2", all...), fakePrograms(t, "9.6.24", all...)
	mute := fakePrograms(t, "", all...)
	for _, c := range []struct {
		what      string
		path      []string
		elsewhere []string
		want      string
	}{
		{"nothing", nil, nil, ""},
		{"only what cannot be used", []string{lone, ancient, mute, "/nowhere"}, []string{ancient}, ""},
		{"the first of its age", []string{older, lone}, []string{older}, older},
		{"newer than the one on PATH", []string{lone, older}, []string{good}, good},
		{"by a pattern", []string{ancient}, []string{filepath.Dir(good) + "/b*"}, good},
		{"a beta", []string{older, beta}, nil, beta},
	} {
		lookOnlyIn(t, c.path, c.elsewhere...)
		if got, _ := find(); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestTheFolderThatIsSetIsUsedAndNoOther(t *testing.T) {
	good, ancient := fakePrograms(t, "16.1", all...), fakePrograms(t, "13.21", all...)
	lookOnlyIn(t, []string{good}, good)
	older := fakePrograms(t, "15.1", all...)
	t.Setenv(BinEnv, older)
	if got, err := binaries(t.Context(), nil, cacheDir); got != older || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv(BinEnv, ancient)
	_, err := Start(t.Context(), Config{})
	if err == nil || !strings.Contains(err.Error(), BinEnv) || !strings.Contains(err.Error(), ancient) {
		t.Errorf("a wrong folder: %v", err)
	}
}
