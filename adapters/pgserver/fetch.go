package pgserver

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

const (
	fetchVersion = embedded.V15
	fetchTimeout = 5 * time.Minute
)

// fetched returns the folder of a PostgreSQL that was fetched, now or earlier. The library has no call that only fetches,
// so its server is started once and ended; for root, whom initdb refuses, the start fails after the programs are there.
func fetched() (string, error) {
	root, err := cacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(root, "postgres-"+string(fetchVersion))
	bin := filepath.Join(home, "bin")
	if _, ok := majorOf(bin); ok {
		return bin, nil
	}
	scratch, err := os.MkdirTemp(root, "fetch-")
	if err != nil {
		return "", fmt.Errorf("make a folder to fetch PostgreSQL into: %w", err)
	}
	defer os.RemoveAll(scratch)
	port, err := freePort()
	if err != nil {
		return "", err
	}
	unpacked := filepath.Join(scratch, "unpacked")
	server := embedded.NewDatabase(embedded.DefaultConfig().Version(fetchVersion).Port(uint32(port)).CachePath(scratch).
		BinariesPath(unpacked).RuntimePath(filepath.Join(scratch, "run")).Logger(io.Discard).StartTimeout(fetchTimeout))
	startErr := server.Start()
	if startErr == nil {
		if err := server.Stop(); err != nil {
			return "", fmt.Errorf("end the fetched PostgreSQL's first run: %w", err)
		}
	}
	if _, ok := majorOf(filepath.Join(unpacked, "bin")); !ok {
		return "", fmt.Errorf("fetch PostgreSQL %s: %w", fetchVersion, startErr)
	}
	if err := letOthersRead(unpacked); err != nil {
		return "", err
	}
	if err := os.Rename(unpacked, home); err != nil {
		if _, ok := majorOf(bin); ok { // another process was faster
			return bin, nil
		}
		return "", fmt.Errorf("keep the fetched PostgreSQL: %w", err)
	}
	return bin, nil
}

// letOthersRead opens what was fetched to the unprivileged user that will run it.
func letOthersRead(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if d.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
