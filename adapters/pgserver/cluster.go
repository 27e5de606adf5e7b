package pgserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func (s *Server) cluster() string { return filepath.Join(s.dir, "cluster") }
func (s *Server) pwFile() string  { return filepath.Join(s.dir, "password") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "server.log") }
func (s *Server) lockFile() string {
	return filepath.Join(s.cluster(), "postmaster.pid")
}

// seen is a path in the server's folder as the server's user reaches it.
func (s *Server) seen(path string) string {
	if s.handle == nil {
		return path
	}
	return byHandle + strings.TrimPrefix(path, s.dir)
}

// command is one of PostgreSQL's programs, run as the server's user.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program(s.bin, name), args...)
	s.let(cmd)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// let makes a command one of the server's user's.
func (s *Server) let(cmd *exec.Cmd) {
	cmd.SysProcAttr = s.owner.attributes()
	cmd.Dir = s.dir
	if s.handle != nil {
		cmd.Dir = "/"
		cmd.ExtraFiles = []*os.File{s.handle}
	}
}

// prepare makes the cluster, or takes an existing one over, and sets the guard.
func (s *Server) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	var err error
	if s.handle, err = s.owner.reach(s.dir); err != nil {
		return err
	}
	_, err = os.Stat(s.cluster())
	fresh := os.IsNotExist(err)
	if fresh {
		err = s.choosePassword()
	} else {
		err = s.readPassword()
	}
	if err != nil {
		return err
	}
	if !fresh {
		s.endOrphan(ctx)
	}
	if err := s.owner.give(s.dir); err != nil {
		return err
	}
	if s.guard, err = s.setGuard(); err != nil {
		return err
	}
	if fresh {
		return s.initialise(ctx)
	}
	return nil
}

func (s *Server) choosePassword() error {
	s.password = hex.EncodeToString(random(16))
	if err := os.WriteFile(s.pwFile(), []byte(s.password), 0o600); err != nil {
		return fmt.Errorf("keep the password: %w", err)
	}
	return nil
}

func (s *Server) readPassword() error {
	text, err := os.ReadFile(s.pwFile())
	if err != nil {
		return fmt.Errorf("%s holds a database that is not ours: %w", s.dir, err)
	}
	s.password = string(text)
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: Go ends the program instead
	return b
}

// initialise makes the cluster under another name first: one that a killed process left half made is never used.
func (s *Server) initialise(ctx context.Context) error {
	half := s.cluster() + ".new"
	if err := os.RemoveAll(half); err != nil {
		return fmt.Errorf("remove a half made cluster: %w", err)
	}
	args := []string{"-D", s.seen(half), "-U", superuser, "-A", "scram-sha-256", "--pwfile", s.seen(s.pwFile()), "-E", "UTF8", "--locale", "C"}
	if !s.cfg.Durable {
		args = append(args, "--no-sync")
	}
	if out, err := s.command(ctx, "initdb", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("make a cluster with %s: %w\n%s", program(s.bin, "initdb"), err, out)
	}
	if err := os.Rename(half, s.cluster()); err != nil {
		return fmt.Errorf("make a cluster: %w", err)
	}
	return nil
}

// endOrphan ends the server that an earlier process left running in the folder. Without one pg_ctl fails, which is as good.
func (s *Server) endOrphan(ctx context.Context) {
	if _, err := os.Stat(s.lockFile()); err == nil {
		_ = s.command(ctx, "pg_ctl", "stop", "-D", s.seen(s.cluster()), "-m", "fast", "-t", "30").Run()
	}
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
