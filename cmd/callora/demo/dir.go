package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	tempPattern = "callora-demo-*"
	lockName    = "lock"
	// youngest is how old a left-over folder must be: a younger one may belong to a demo that is about to lock it.
	youngest = time.Minute
)

// folder is the folder a demo has for itself while it runs.
type folder struct {
	path string
	temp bool
	lock *os.File
}

// openFolder takes the folder, or a temporary one when path is empty. What killed demos left of theirs is removed.
func openFolder(path string) (*folder, error) {
	d := &folder{path: path, temp: path == ""}
	if d.temp {
		sweepTemp()
		dir, err := os.MkdirTemp("", tempPattern)
		if err != nil {
			return nil, err
		}
		d.path = dir
		if err := os.Chmod(dir, 0o711); err != nil { // ours, see below
			return nil, errors.Join(err, os.Remove(dir))
		}
	}
	abs, err := filepath.Abs(d.path)
	if err != nil {
		return nil, err
	}
	d.path = abs
	// Postgres may have to run as another user, who must be able to pass through; secrets in it have modes of their own.
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	free, err := lockFile(f)
	if err == nil && !free {
		err = fmt.Errorf("another demo is using %s", d.path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data folder: %w", err), f.Close())
	}
	d.lock = f
	return d, nil
}

func (d *folder) close() error {
	if d.temp {
		if err := os.RemoveAll(d.path); err != nil {
			return errors.Join(err, d.lock.Close())
		}
	}
	return d.lock.Close()
}

// sweepTemp removes the temporary folders of demos that were killed. It is housekeeping: failing at it hinders nobody.
func sweepTemp() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), tempPattern))
	if err != nil || !canLock {
		return
	}
	for _, dir := range left {
		info, err := os.Stat(filepath.Join(dir, lockName))
		if err != nil || time.Since(info.ModTime()) < youngest {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if free, err := lockFile(f); err == nil && free {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}
