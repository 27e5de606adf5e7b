//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner is the user the server runs as: nil for the present one. PostgreSQL refuses to run as root.
type owner struct{ uid, gid int }

const anybody = 65534

func serverUser() *owner {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &owner{uid, gid}
		}
	}
	return &owner{anybody, anybody}
}

func (o *owner) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end the server in our own order
	if o != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid), Groups: []uint32{}}
	}
	return attr
}

// give makes the folder the server's. Root's folders on the way to it get the right to be passed through, no more.
func (o *owner) give(dir string) error {
	if o == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, o.uid, o.gid)
	})
	if err != nil {
		return fmt.Errorf("give %s to the server's user: %w", dir, err)
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return fmt.Errorf("look at %s: %w", parent, err)
		}
		if mode := info.Mode().Perm(); mode&0o001 == 0 {
			if err := os.Chmod(parent, mode|0o001); err != nil {
				return fmt.Errorf("let the server's user pass through %s: %w", parent, err)
			}
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

// cacheDir is where a fetched PostgreSQL is kept. Root's home is closed to the server's user, so root keeps it elsewhere,
// where only root can write.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/callora", nil
	}
	return userCacheDir()
}

// stopSignals are PostgreSQL's fast and immediate shutdown, and the last resort.
var stopSignals = []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
