package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Lines of PostgreSQL's lock file.
const (
	lockPID   = 0
	lockState = 7
)

// process is a server process that is waited for.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed at its end; then err says how
	err   error
}

// run starts the server and returns when it is ready, or what it said at its end.
func (s *Server) run(ctx context.Context) error {
	args := []string{"-D", s.seen(s.cluster()), "-p", strconv.Itoa(s.port)}
	for k, v := range s.settings() {
		args = append(args, "-c", k+"="+v)
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of PostgreSQL: %w", err)
	}
	cmd := s.command(context.WithoutCancel(ctx), "postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.cfg.Log != nil {
		both := io.MultiWriter(log, s.cfg.Log)
		cmd.Stdout, cmd.Stderr = both, both
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start PostgreSQL: %w", err), log.Close())
	}
	s.proc = &process{cmd: cmd, ended: make(chan struct{})}
	go s.proc.wait(log)
	if err := s.ready(ctx); err != nil {
		killErr := s.proc.kill()
		said, _ := os.ReadFile(s.logFile())
		return errors.Join(fmt.Errorf("start PostgreSQL: %w\n%s", err, said), killErr)
	}
	return nil
}

// ready waits until the server takes sessions.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !s.saysReady() {
		select {
		case <-tick.C:
		case <-s.proc.ended:
			return fmt.Errorf("it ended at once: %w", s.proc.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// saysReady reads the server's state from its lock file, as pg_ctl does: to ask on the port could be to ask somebody else.
func (s *Server) saysReady() bool {
	text, err := os.ReadFile(s.lockFile())
	lines := strings.Split(string(text), "\n")
	return err == nil && len(lines) > lockState && lines[lockPID] == strconv.Itoa(s.proc.cmd.Process.Pid) &&
		strings.TrimSpace(lines[lockState]) == "ready"
}

func (p *process) wait(log io.Closer) {
	p.err = p.cmd.Wait()
	_ = log.Close() // the operating system has what the server wrote
	close(p.ended)
}

// stop asks the server to end, and makes it end when that takes longer than patience.
func (p *process) stop(patience time.Duration) error {
	for _, signal := range stopSignals {
		if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			continue // a signal that this system does not know
		}
		if signal == os.Kill { // which no process refuses; on a busy machine its end takes a moment
			patience = max(patience, stopTimeout)
		}
		select {
		case <-p.ended:
			return nil
		case <-time.After(patience):
			patience /= 4
		}
	}
	return fmt.Errorf("PostgreSQL (process %d) does not end", p.cmd.Process.Pid)
}

func (p *process) kill() error {
	if err := killAll(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	<-p.ended
	return nil
}
