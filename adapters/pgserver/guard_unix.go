//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// guard is a child that waits for the end of this process, kill -9 included, and then ends the server and removes its
// temporary folder. It notices by the end of a pipe that nobody ever writes to.
type guard struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// The folder is a kept one when $3 is empty. A thrown-away server need not be in good order at its end. A folder whose
// owner ($5, by the note in $4) is another process by then has a server that is no longer this guard's business.
const guardScript = `read -r _
[ "$(cat "$4" 2>/dev/null)" = "$5" ] || exit 0
if [ -z "$3" ]; then exec "$1" stop -D "$2" -m fast -t 60 -s; fi
"$1" stop -D "$2" -m immediate -t 60 -s
rm -rf "$3"`

func (s *Server) setGuard() (*guard, error) {
	temp := ""
	if s.isTemp() {
		temp = s.dir
	}
	note, owner := filepath.Join(s.dir, "owner"), strconv.Itoa(os.Getpid())
	if err := os.WriteFile(note, []byte(owner), 0o644); err != nil {
		return nil, fmt.Errorf("guard PostgreSQL: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("guard PostgreSQL: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", guardScript, "callora-postgres-guard", program(s.bin, "pg_ctl"), s.seen(s.cluster()), temp, s.seen(note), owner)
	s.let(cmd)
	cmd.Dir = "/"
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("guard PostgreSQL: %w", err)
	}
	return &guard{cmd: cmd, pipe: w}, nil
}

// end lets the guard do its work, of which nothing is left when the server has ended.
func (g *guard) end() {
	if g == nil {
		return
	}
	if err := g.pipe.Close(); err == nil { // else it has ended before
		_ = g.cmd.Wait() // pg_ctl fails when there is nothing to stop
	}
}
