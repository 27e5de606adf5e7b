package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config says what server to run. The zero value is a throw-away one.
type Config struct {
	// DataDir is kept and used again; "": a temporary folder, gone with the server. A folder is for one process at a
	// time: Start ends a server that still runs in it.
	DataDir  string
	Durable  bool              // false: no fsync, for tests; a crash of the machine then loses the data
	Log      io.Writer         // the server's log; nil: none, but errors quote it
	Settings map[string]string // further postgresql.conf settings
	Told     io.Writer         // hears of what takes a while, fetching PostgreSQL; nil: nobody
}

// Server is a running private PostgreSQL. Its methods are for one goroutine at a time, but URL, which is for all.
type Server struct {
	cfg      Config
	bin      string // folder of PostgreSQL's programs
	dir      string // of everything the server has
	owner    *owner
	handle   *os.File // the folder, open for the server's user; nil: it goes by the path
	guard    *guard
	port     int
	password string
	proc     *process
}

const (
	superuser    = "callora"
	startTimeout = time.Minute
	stopTimeout  = 20 * time.Second
	portTries    = 5
)

// Start runs a server and returns when it answers.
func Start(ctx context.Context, cfg Config) (*Server, error) { return startOn(ctx, cfg, freePort) }

// startOn is Start on ports of choose's choice.
func startOn(ctx context.Context, cfg Config, choose func() (int, error)) (_ *Server, err error) {
	bin, err := binaries(ctx, cfg.Told, cacheDir)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, bin: bin, owner: serverUser(), dir: cfg.DataDir}
	if s.isTemp() {
		if s.dir, err = os.MkdirTemp(tempParent(cfg.Durable), "callora-postgres-"); err != nil {
			return nil, fmt.Errorf("make a folder for PostgreSQL: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.leave())
		}
	}()
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return nil, fmt.Errorf("find the folder of PostgreSQL: %w", err)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		if s.port, err = choose(); err != nil {
			return nil, err
		}
		err = s.Restart(ctx)
		if err == nil {
			return s, nil
		}
		if try == portTries || !strings.Contains(err.Error(), "Address already in use") { // lost to somebody in between
			return nil, err
		}
	}
}

// URL is the address of a database on the server, for lib/pq. It stays the same after Restart.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password), Path: "/" + database, RawQuery: "sslmode=disable",
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
	}
	return u.String()
}

// Stop ends the server in good order, with its sessions, and removes a temporary folder. Stopping twice is no error.
func (s *Server) Stop() error { return errors.Join(s.proc.stop(stopTimeout), s.leave()) }

// Kill ends the server and its sessions at once, as a crash would, and leaves the data for Restart.
func (s *Server) Kill() error { return s.proc.kill() }

// Restart starts the server after Kill, on the same data and port.
func (s *Server) Restart(ctx context.Context) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.run(ctx)
		if err == nil || !strings.Contains(err.Error(), "shared memory block") || time.Now().After(deadline) {
			return err
		}
		select { // killed sessions still hold the shared memory for a moment
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// leave gives up what Start took besides the server's process.
func (s *Server) leave() error {
	s.guard.end()
	_ = s.handle.Close() // it was only read; nil says so, and nothing more
	if !s.isTemp() {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the folder of PostgreSQL: %w", err)
	}
	return nil
}

func (s *Server) isTemp() bool { return s.cfg.DataDir == "" }
