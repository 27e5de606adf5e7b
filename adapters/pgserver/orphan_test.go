//go:build unix

package pgserver

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentEnv makes the test program a process that starts a server in the folder, says where, and is then killed.
const (
	parentEnv = "CALLORA_TEST_PARENT"
	throwAway = "throw-away"
	patience  = 20 * time.Second
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentEnv); dir != "" {
		beParent(strings.TrimPrefix(dir, throwAway))
	}
	os.Exit(m.Run())
}

func beParent(dir string) {
	s, err := Start(context.Background(), Config{DataDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.URL("postgres"), s.dir)
	select {}
}

// killedParent starts a server in another process, kills that process, and returns the server's address and folder.
func killedParent(t *testing.T, dir string) (address, folder string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the other process: %v", err)
	}
	address, folder, _ = strings.Cut(strings.TrimSpace(said), " ")
	do(t, open(t, address), "CREATE TABLE kept ()")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	return address, folder
}

// eventually looks again and again, in step with a ticker, until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick, end := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("still not so: %s", what)
		}
	}
}

func answers(db *sql.DB) bool { return db.Ping() == nil }

func TestAKilledProcessTakesItsThrowAwayServerAlong(t *testing.T) {
	t.Parallel()
	address, folder := killedParent(t, throwAway)
	db := open(t, address)
	eventually(t, "the server has ended", func() bool { return !answers(db) })
	eventually(t, "its folder is gone", func() bool { return gone(folder) })
}

func TestAfterAKillTheKeptFolderIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "kept")
	for range 3 {
		killedParent(t, dir)
		s := run(t, Config{DataDir: dir}) // while the old server ends
		db := open(t, s.URL("postgres"))
		do(t, db, "DROP TABLE kept")
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// orphan makes the server one whose process and guard are both dead.
func orphan(t *testing.T, s *Server) {
	t.Helper()
	if err := s.guard.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.guard.cmd.Wait() // killed
	s.guard = nil
}

func TestAServerThatStillRunsInTheFolderIsEndedFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := run(t, Config{DataDir: dir})
	db := open(t, old.URL("postgres"))
	do(t, db, "CREATE TABLE kept ()")
	orphan(t, old)
	s := run(t, Config{DataDir: dir})
	if answers(db) {
		t.Error("both run")
	}
	if ask(t, open(t, s.URL("postgres")), "SELECT to_regclass('kept')") != "kept" {
		t.Error("the data is lost")
	}
}

func TestTheLockOfADeadServerIsNoHindrance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := run(t, Config{DataDir: dir})
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	orphan(t, old)
	if gone(old.lockFile()) {
		t.Fatal("a killed server leaves no lock")
	}
	run(t, Config{DataDir: dir})
}

func TestTheServerIsNeverRoots(t *testing.T) {
	t.Parallel()
	s := run(t, Config{})
	info, err := os.Stat(s.lockFile())
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid == 0 {
		t.Error("it runs as root")
	}
	if info, err := os.Stat(s.pwFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file: %v, %v", info.Mode(), err)
	}
}

func TestAServerThatDoesNotHearIsMadeToEnd(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", `trap "" INT QUIT; echo ready; read -r _`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go p.wait(in)
	if err := p.stop(50 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.err == nil {
		t.Error("it ended by itself")
	}
}
