//go:build unix

package pgserver

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheServersUserCanReachItsFolderAndNoMore(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	dir := filepath.Join(closed, "dir")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	me := &owner{os.Getuid(), os.Getgid()}
	if err := me.give(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{closed: 0o701, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has %v, want %v, %v", path, info.Mode(), want, err)
		}
	}
	if me.give(filepath.Join(dir, "none")) == nil {
		t.Error("a folder that is not there was given")
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
