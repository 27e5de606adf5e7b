package pgserver

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/lib/pq" // to see when the server answers
)

// Config says what server to run. The zero value is a throw-away one.
type Config struct {
	DataDir  string            // "": a temporary folder, removed by Stop. A kept folder is used again
	Durable  bool              // false: no fsync, for tests; a crash of the machine then loses the data
	Log      io.Writer         // the server's log; nil: a file in the folder, quoted in errors
	Settings map[string]string // further postgresql.conf settings
}

// Server is a running private PostgreSQL.
type Server struct {
	cfg      Config
	bin      string
	dir      string // of everything
	owner    *owner
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
func Start(ctx context.Context, cfg Config) (*Server, error) {
	bin, err := binaries(fetched)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, bin: bin, owner: serverUser(), dir: cfg.DataDir}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "callora-postgres-"); err != nil {
			return nil, fmt.Errorf("make a folder for PostgreSQL: %w", err)
		}
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.removeTemp())
	}
	for try := 1; ; try++ {
		if s.port, err = freePort(); err != nil {
			return nil, errors.Join(err, s.removeTemp())
		}
		err = s.Restart(ctx)
		if err == nil {
			return s, nil
		}
		if try == portTries || !strings.Contains(err.Error(), "in use") { // somebody took the port in between
			return nil, errors.Join(err, s.removeTemp())
		}
	}
}

// URL is the address of a database on the server, for lib/pq.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password), Path: "/" + database, RawQuery: "sslmode=disable",
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
	}
	return u.String()
}

func (s *Server) cluster() string { return filepath.Join(s.dir, "cluster") }
func (s *Server) pwFile() string  { return filepath.Join(s.dir, "password") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "server.log") }
func (s *Server) isTemp() bool    { return s.cfg.DataDir == "" }
func (s *Server) exists() bool {
	_, err := os.Stat(filepath.Join(s.cluster(), "PG_VERSION"))
	return err == nil
}
func (s *Server) cmd(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = s.owner.attributes()
	return cmd
}

// prepare makes the cluster, or takes an existing one over.
func (s *Server) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	if s.exists() {
		return s.takeOver(ctx)
	}
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return fmt.Errorf("draw a password: %w", err)
	}
	s.password = hex.EncodeToString(secret[:])
	if err := os.WriteFile(s.pwFile(), []byte(s.password), 0o600); err != nil {
		return fmt.Errorf("keep the password: %w", err)
	}
	if err := s.owner.give(s.dir); err != nil {
		return err
	}
	args := []string{"-D", s.cluster(), "-U", superuser, "-A", "scram-sha-256", "--pwfile", s.pwFile(), "-E", "UTF8", "--locale", "C"}
	if !s.cfg.Durable {
		args = append(args, "--no-sync")
	}
	unlock := lockThread()
	defer unlock()
	if out, err := s.cmd(ctx, "initdb", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program(s.bin, "initdb"), err, out)
	}
	return nil
}

// takeOver ends a server that an earlier, killed process left on the same folder.
func (s *Server) takeOver(ctx context.Context) error {
	password, err := os.ReadFile(s.pwFile())
	if err != nil {
		return fmt.Errorf("%s holds a database of somebody else (no password file): %w", s.dir, err)
	}
	s.password = string(password)
	if err := s.owner.give(s.dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.cluster(), "postmaster.pid")); err != nil {
		return nil
	}
	unlock := lockThread()
	defer unlock()
	// fails when nothing runs, which is as good
	_ = s.cmd(ctx, "pg_ctl", "stop", "-D", s.cluster(), "-m", "fast", "-t", "30").Run()
	return nil
}

// Restart starts the server after Kill, on the same data and port.
func (s *Server) Restart(ctx context.Context) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.run(ctx)
		// the killed server's own children need a moment to notice that it is gone
		if err == nil || !strings.Contains(err.Error(), "shared memory block") || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Server) run(ctx context.Context) error {
	args := []string{"-D", s.cluster(), "-p", strconv.Itoa(s.port)}
	for k, v := range s.settings() {
		args = append(args, "-c", k+"="+v)
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of PostgreSQL: %w", err)
	}
	defer log.Close()
	cmd := s.cmd(context.WithoutCancel(ctx), "postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.cfg.Log != nil {
		cmd.Stdout, cmd.Stderr = s.cfg.Log, s.cfg.Log
	}
	if s.proc, err = start(cmd); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.ready(ctx); err != nil {
		tail, _ := os.ReadFile(s.logFile())
		return errors.Join(fmt.Errorf("start PostgreSQL: %w\n%s", err, tail), s.proc.kill())
	}
	return nil
}

func (s *Server) settings() map[string]string {
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200", "timezone": "UTC", "log_timezone": "UTC",
	}
	if !s.cfg.Durable {
		for _, k := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			settings[k] = "off"
		}
	}
	for k, v := range s.cfg.Settings {
		settings[k] = v
	}
	return settings
}

// ready waits until the server answers a query.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	db, err := sql.Open("postgres", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.proc.ended:
			return fmt.Errorf("it ended at once: %w", s.proc.err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Stop ends the server and removes a temporary folder. Stopping twice is no error.
func (s *Server) Stop() error {
	return errors.Join(s.proc.stop(stopTimeout), s.removeTemp())
}

// Kill ends the server at once, as a crash would, and leaves its data for Restart.
func (s *Server) Kill() error { return s.proc.kill() }

func (s *Server) removeTemp() error {
	if !s.isTemp() {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
