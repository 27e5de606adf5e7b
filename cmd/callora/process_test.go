package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/cmd/callora/demo"
)

// patience bounds every wait of these tests; nothing takes that long unless it hangs.
const patience = 60 * time.Second

// built is the folder of the binary, "" before it was needed.
var built string

// binary is the program, built once per test process.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "callora-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "callora")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// process is a running callora.
type process struct {
	cmd    *exec.Cmd
	stdout *transcript
	stderr *transcript
	ended  chan struct{} // closed when it has ended and all it said was read
}

// launch starts the program with only the given variables, besides those a program needs to run at all.
func launch(t *testing.T, environ map[string]string, args ...string) *process {
	t.Helper()
	return launchIn(t, t.TempDir(), environ, args...) // no .env there
}

func launchIn(t *testing.T, dir string, environ map[string]string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return launchProgram(t, dir, environ, path, args...)
}

func launchProgram(t *testing.T, dir string, environ map[string]string, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), stdout: newTranscript(), stderr: newTranscript(), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "CALLORA_POSTGRES_BIN"} {
		if v, ok := os.LookupEnv(name); ok {
			p.cmd.Env = append(p.cmd.Env, name+"="+v)
		}
	}
	for k, v := range environ {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is looked at later
		p.stdout.end()
		p.stderr.end()
		close(p.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
		if t.Failed() {
			t.Logf("%s\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), p.stdout.text(), p.stderr.text())
		}
	})
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ctrlC signals the process and all its children, as a terminal does.
func (p *process) ctrlC(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Signal(syscall.SIGQUIT)
		t.Fatal("the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// finish asks for a clean end and demands one.
func (p *process) finish(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("ended with code %d", code)
	}
}

// listening waits for a server's log line and returns its origin.
func (p *process) listening(t *testing.T) string {
	t.Helper()
	line := p.stderr.await(t, `"msg":"listening"`)
	var entry struct{ Addr string }
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return "http://" + entry.Addr
}

// report waits for a demo's line of JSON.
func (p *process) report(t *testing.T) demo.Report {
	t.Helper()
	var r demo.Report
	if err := json.Unmarshal([]byte(p.stdout.await(t, "{")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// transcript collects what a process says and lets a test wait for a line.
type transcript struct {
	mu    sync.Mutex
	said  bytes.Buffer
	done  bool
	heard chan struct{} // closed and replaced at every news
}

func newTranscript() *transcript { return &transcript{heard: make(chan struct{})} }

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.heard)
	s.heard = make(chan struct{})
	return s.said.Write(b)
}

func (s *transcript) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	close(s.heard)
	s.heard = make(chan struct{})
}

func (s *transcript) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

func (s *transcript) look() (text string, done bool, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String(), s.done, s.heard
}

// await returns the first complete line that contains what.
func (s *transcript) await(t *testing.T, what string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		text, done, more := s.look()
		lines := bufio.NewScanner(strings.NewReader(text[:strings.LastIndex(text, "\n")+1]))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return lines.Text()
			}
		}
		if done {
			t.Fatalf("the process ended without saying %q", what)
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("the process did not say %q", what)
		}
	}
}

// get asks for a URL with headers as pairs and returns status and body.
func get(t *testing.T, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
