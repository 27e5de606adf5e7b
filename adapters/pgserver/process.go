package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	_ "github.com/lib/pq" // to see when the server answers
)

// process is a server process that is waited for.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed at its end; then err says how
	err   error
}

// run starts the server and returns when it answers, or what it said at its end.
func (s *Server) run(ctx context.Context) error {
	args := []string{"-D", s.cluster(), "-p", strconv.Itoa(s.port)}
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

// ready waits until the server answers.
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
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	<-p.ended
	return nil
}
