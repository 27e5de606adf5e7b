package pgserver

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// BinEnv names the environment variable that says where PostgreSQL's programs are, before any search.
const BinEnv = "CALLORA_POSTGRES_BIN"

const oldestMajor = 14 // older ones tell times in binary fractions, and are out of support

// places are where packagers put PostgreSQL's programs when they are not on PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // Red Hat
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	`C:\Program Files\PostgreSQL\*\bin`,
}

// find returns a folder with the programs of a PostgreSQL that is new enough, the newest there is, and the folders it
// looked at.
func find() (dir string, looked []string) {
	if set := os.Getenv(BinEnv); set != "" {
		candidates := []string{set}
		return newest(candidates), candidates
	}
	looked = slices.Concat(filepath.SplitList(os.Getenv("PATH")), places)
	var candidates []string
	for _, p := range looked {
		found, _ := filepath.Glob(p) // only a malformed pattern is an error
		candidates = append(candidates, found...)
	}
	return newest(candidates), looked
}

func newest(dirs []string) string {
	best, bestMajor := "", oldestMajor-1
	for _, dir := range dirs {
		if major, ok := majorOf(dir); ok && major > bestMajor {
			best, bestMajor = dir, major
		}
	}
	return best
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// majorOf asks the server in dir for its version. A folder counts only when it holds all programs we run: a lone
// `postgres` on PATH is often a wrapper.
func majorOf(dir string) (int, bool) {
	for _, p := range []string{"postgres", "initdb", "pg_ctl"} {
		if info, err := os.Stat(program(dir, p)); err != nil || info.IsDir() {
			return 0, false
		}
	}
	out, err := exec.Command(program(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, false
	}
	m := versionText.FindStringSubmatch(string(out))
	if m == nil {
		return 0, false
	}
	major, err := strconv.Atoi(m[1])
	return major, err == nil
}

func program(dir, name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(dir, name)
}

// binaries returns the folder of PostgreSQL's programs, fetching them into the cache when the machine has none.
func binaries(ctx context.Context, told io.Writer, cache func() (string, error)) (string, error) {
	dir, looked := find()
	if dir != "" {
		return filepath.Abs(dir)
	}
	if set := os.Getenv(BinEnv); set != "" {
		return "", fmt.Errorf("%s=%s holds no PostgreSQL %d or newer (want postgres, initdb and pg_ctl there)", BinEnv, set, oldestMajor)
	}
	root, err := cache()
	if err == nil {
		dir, err = fetched(ctx, root, told)
	}
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL %d or newer in %s, and none could be fetched: %w\n"+
			"install PostgreSQL, or set %s to the folder of its programs, or %s to a Maven repository that can be reached",
			oldestMajor, strings.Join(looked, ", "), err, BinEnv, RepositoryEnv)
	}
	return dir, nil
}
