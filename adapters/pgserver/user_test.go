//go:build unix

package pgserver

import (
	"os"
	"path/filepath"
	"testing"
)

// Whoever runs the server, no folder above its own changes; and root's server runs although they are closed to its user.
func TestTheFoldersOnTheWayStayAsTheyAre(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	between := filepath.Join(closed, "between")
	if err := os.MkdirAll(between, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(between, "dir")
	for range 2 { // made, and taken over
		s, err := Start(t.Context(), Config{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	for path, want := range map[string]os.FileMode{closed: 0o700, between: 0o750, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has %v, want %v, %v", path, info.Mode(), want, err)
		}
	}
	me := &owner{os.Getuid(), os.Getgid()}
	if me.give(filepath.Join(dir, "none")) == nil {
		t.Error("a folder that is not there was given")
	}
	if _, err := me.reach(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was reached")
	}
}

func TestRootsServerHasAnotherUserAndACacheOfRootsAlone(t *testing.T) {
	t.Parallel()
	user := serverUser()
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if root := os.Geteuid() == 0; root != (user != nil) || root && (user.uid == 0 || cache != "/var/cache/callora") {
		t.Errorf("user %v, cache %s", user, cache)
	}
}

func TestThePresentUsersCacheIsItsOwn(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	t.Setenv("XDG_CACHE_HOME", "")
	dir, err := userCacheDir()
	if rel, relErr := filepath.Rel("/home/ada", dir); err != nil || relErr != nil || filepath.IsAbs(rel) {
		t.Errorf("%q, %v", dir, err)
	}
	t.Setenv("HOME", "")
	if _, err := userCacheDir(); err == nil {
		t.Error("nobody has a cache")
	}
}
