package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyTime = time.Minute
	endTime   = 40 * time.Second
)

// child is a process of this run.
type child struct {
	name   string
	addr   string
	secure string // where it listens for TLS, if it does
	cmd    *exec.Cmd
	said   *tail
	ended  chan struct{} // closed at its end; then err says how
	err    error
	ask    func() error // asks it to end
}

// spawn starts cmd and keeps the end of what it says.
func spawn(name string, cmd *exec.Cmd) (*child, error) {
	c := &child{name: name, cmd: cmd, said: &tail{}, ended: make(chan struct{})}
	cmd.Stderr = c.said
	if cmd.Stdout == nil {
		cmd.Stdout = c.said
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// spawnSelf starts this program in another role and returns when it listens. It ends when we do, kill -9 included: the end
// of its standard input tells it.
func spawnSelf(role string, env []string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, append([]string{role}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	in, inErr := cmd.StdinPipe()
	r, w, outErr := os.Pipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	defer r.Close()
	cmd.Stdout = w
	c, err := spawn(role, cmd)
	_ = w.Close() // the child has its own
	if err != nil {
		return nil, err
	}
	c.ask = in.Close
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s does not start: %w", role, err), c.stop())
	}
	c.addr, c.secure, _ = strings.Cut(strings.TrimSpace(line), " ")
	return c, nil
}

// spawnServer starts a server that will listen at addr and returns when it does. SIGTERM ends it.
func spawnServer(ctx context.Context, name, addr string, cmd *exec.Cmd) (*child, error) {
	c, err := spawn(name, cmd)
	if err != nil {
		return nil, err
	}
	c.addr = addr
	c.ask = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if nc, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c, nc.Close()
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return nil, c.dead()
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s does not listen: %w", name, ctx.Err()), c.stop())
		}
	}
}

// stop asks the process to end, makes it end when it does not, and returns an error unless it ended well.
func (c *child) stop() error {
	select {
	case <-c.ended:
	default:
		if err := c.ask(); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, os.ErrClosed) {
			_ = c.cmd.Process.Kill()
		}
	}
	select {
	case <-c.ended:
	case <-time.After(endTime):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	if c.err != nil {
		return c.dead()
	}
	return nil
}

// dead says how the process ended, in its own last words.
func (c *child) dead() error {
	return fmt.Errorf("%s ended: %v; it said last:\n%s", c.name, c.cmd.ProcessState, c.said.text())
}

// whyFailed adds to a load's error that its target has died, if it has.
func (c *child) whyFailed(err error) error {
	select {
	case <-c.ended:
		return errors.Join(err, c.dead())
	default:
		return fmt.Errorf("%s: %w\nit said last:\n%s", c.name, err, c.said.text())
	}
}

// tail keeps the last bytes written to it, but for lines that tell of calls that went well: there are thousands of them a second.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	part []byte // of a line
}

const tailSize = 4 << 10

var (
	_ io.Writer = (*tail)(nil)

	wentWell = []byte(`{"level":"info"`)
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			t.part = append(t.part, rest[max(len(rest)-tailSize, 0):]...)
			break
		}
		line := rest[:end]
		if rest = rest[end:]; len(t.part) > 0 {
			line = append(t.part, line...)
			t.part = nil
		}
		if !bytes.HasPrefix(line, wentWell) {
			t.keep(line)
		}
	}
	return len(p), nil
}

func (t *tail) keep(line []byte) {
	last := line[max(len(line)-tailSize, 0):]
	if drop := len(t.buf) + len(last) - tailSize; drop > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[drop:])]
	}
	t.buf = append(t.buf, last...)
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf) + string(t.part)
}
