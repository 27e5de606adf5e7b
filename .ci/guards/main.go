// Command guards proves that every rule about money is held by a test: it takes each guard out of the code, one at a time
// and without touching the tree, and expects the test named for it to fail. A guard whose removal no test notices, and a
// guard that is no longer where it is said to be, end it with exit code 1.
//
//	go run ./.ci/guards            all guards
//	go run ./.ci/guards fence      those whose names contain "fence"
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guard is one rule: without old, which new takes the place of, the tests named by run must fail.
type guard struct {
	name     string
	file     string
	old, new string
	pkg, run string
}

func main() {
	wanted := ""
	if len(os.Args) > 1 {
		wanted = os.Args[1]
	}
	var chosen []guard
	for _, g := range guards {
		if strings.Contains(g.name, wanted) {
			chosen = append(chosen, g)
		}
	}
	failed := proveAll(chosen)
	fmt.Printf("%d guards, %d not proven\n", len(chosen), failed)
	if failed > 0 || len(chosen) == 0 {
		os.Exit(1)
	}
}

// atOnce is how many guards are tried side by side: most of the time of one is waiting, for time-outs and for PostgreSQL.
const atOnce = 3

// proveAll proves guards, prints a line for each, and returns how many are not proven.
func proveAll(chosen []guard) (failed int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for _, g := range chosen {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			start := time.Now()
			by, err := g.prove()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				fmt.Printf("FAIL %s: %v\n", g.name, err)
				return
			}
			fmt.Printf("ok   %s (%s %s, %.1fs)\n", g.name, g.pkg, by, time.Since(start).Seconds())
		})
	}
	all.Wait()
	return failed
}

// prove runs the guard's tests on code without the guard, and returns the test that fails.
func (g guard) prove() (by string, err error) {
	source, err := os.ReadFile(g.file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(g.old)); n != 1 {
		return "", fmt.Errorf("%s holds the guard %d times, want 1: %q", g.file, n, g.old)
	}
	dir, err := os.MkdirTemp("", "guards")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := g.overlay(dir, bytes.Replace(source, []byte(g.old), []byte(g.new), 1))
	if err != nil {
		return "", err
	}
	by, out, err := g.test(overlay)
	switch {
	case by != "":
		return by, nil
	case err == nil:
		return "", fmt.Errorf("no test of %s notices that it is gone", g.run)
	}
	return "", fmt.Errorf("the tests did not run:\n%s", out)
}

// test runs the guard's tests and returns the first that fails, which ends them all; none when none does.
func (g guard) test(overlay string) (failed, out string, err error) {
	cmd := exec.Command("go", "test", "-v", "-count=1", "-failfast", "-timeout", "3m", "-run", g.run, g.pkg)
	cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay) // for tests, too, that build the program they start
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}       // the test binary ends with it
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", "", err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	end := time.AfterFunc(time.Hour, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer end.Stop()
	var said strings.Builder
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if _, test, fails := strings.Cut(line, "--- FAIL: "); fails || strings.HasPrefix(line, "panic:") {
			if failed == "" {
				end.Reset(time.Second) // for its subtests, which come after it
			}
			if test, _, _ = strings.Cut(test, " "); strings.HasPrefix(test, failed) {
				failed = test
			}
			failed = cmp.Or(failed, g.run)
		}
		said.WriteString(line + "\n")
	}
	return failed, said.String(), cmd.Wait()
}

func (g guard) overlay(dir string, mutated []byte) (string, error) {
	original, err := filepath.Abs(g.file)
	if err != nil {
		return "", err
	}
	replacement := filepath.Join(dir, filepath.Base(g.file))
	if err := os.WriteFile(replacement, mutated, 0o600); err != nil {
		return "", err
	}
	doc, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replacement}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, doc, 0o600)
}
