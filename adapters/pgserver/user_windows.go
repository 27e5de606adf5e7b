//go:build windows

package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// owner is the user the server runs as; on Windows always the present one.
type owner struct{}

func serverUser() *owner { return nil }

func (*owner) attributes() *syscall.SysProcAttr { return nil }

func (*owner) give(string) error { return nil }

func cacheDir() (string, error) {
	home, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder to keep PostgreSQL in: %w", err)
	}
	dir := filepath.Join(home, "callora")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a folder to keep PostgreSQL in: %w", err)
	}
	return dir, nil
}

var (
	askToStop = os.Interrupt // not supported there: Stop goes on to pg_ctl
	makeStop  = os.Kill
)
