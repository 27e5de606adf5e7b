package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// process is a child that is waited for.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed at its end; then err says how
	err   error
}

// start runs cmd from a thread of its own, which lives as long as the child: Linux ends the child when the thread that
// forked it ends, not only when the process does.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// lockThread keeps the caller on its thread while it runs a short-lived child, for the same reason.
func lockThread() (unlock func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// stop asks the server to end, and makes it end when it takes longer than patience.
func (p *process) stop(patience time.Duration) error {
	for _, signal := range []os.Signal{askToStop, makeStop, os.Kill} {
		if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			continue // this system does not know the signal
		}
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-p.ended:
			return nil
		case <-timer.C:
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
