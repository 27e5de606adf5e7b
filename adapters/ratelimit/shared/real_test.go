//go:build redis

package shared

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/ratelimit"
	"github.com/CalloraOrg/callora-backend/ports"
)

// real is a server of its own: valkey-server or redis-server, whichever is on the PATH.
type real struct {
	t       testing.TB
	program string
	args    []string
	address string
	cmd     *exec.Cmd
}

func startReal(t testing.TB, args ...string) *real {
	t.Helper()
	r := &real{t: t}
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			r.program = path
			break
		}
	}
	if r.program == "" {
		t.Fatal("neither valkey-server nor redis-server is on the PATH: install one of the two")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	_, port, _ := net.SplitHostPort(r.address)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r.args = append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir(), "--daemonize", "no"}, args...)
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *real) start() {
	r.t.Helper()
	r.cmd = exec.Command(r.program, r.args...)
	out, err := os.Create(filepath.Join(r.t.TempDir(), "log"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	r.cmd.Stdout, r.cmd.Stderr = out, out
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	until(r.t, "the server listens", func() bool {
		c, err := net.Dial("tcp", r.address)
		return err == nil && c.Close() == nil
	})
}

func (r *real) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

func (r *real) url() string { return "redis://" + r.address }

func TestARealStoreDecidesAsTheContractSays(t *testing.T) {
	t.Parallel()
	r := startReal(t)
	a, b := start(t, r.url()), start(t, r.url())
	for i := range 5 {
		n := a
		if i%2 == 1 {
			n = b
		}
		d := n.Take("k", 5, time.Hour)
		if !d.Allowed || d.Limit != 5 || d.Remaining != 4-i || d.RetryAfter != 0 || d.Reset <= 0 || d.Reset > time.Hour {
			t.Errorf("event %d: %+v", i, d)
		}
	}
	d := b.Take("k", 5, time.Hour)
	if d.Allowed || d.Remaining != 0 || d.RetryAfter <= 0 || d.RetryAfter > 12*time.Minute || d.Reset <= 48*time.Minute {
		t.Errorf("the sixth: %+v", d)
	}
	a.Return("k", 5, time.Hour)
	if !b.Take("k", 5, time.Hour).Allowed || b.Take("k", 5, time.Hour).Allowed {
		t.Error("one was given back, and one may follow")
	}
	if !a.Take("another", 1, time.Hour).Allowed {
		t.Error("keys are not apart")
	}
	const quick = 50 * time.Millisecond
	if !a.Take("quick", 1, quick).Allowed || a.Take("quick", 1, quick).Allowed {
		t.Error("one in 50 ms")
	}
	until(t, "its time has come again", func() bool { return b.Take("quick", 1, quick).Allowed })
	if n := a.metric(t, "ratelimit_fallback_total", "") + b.metric(t, "ratelimit_fallback_total", ""); n != 0 {
		t.Errorf("%v decisions are not the store's", n)
	}
}

func TestNodesOnARealStoreNeverAdmitMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	r := startReal(t)
	nodes := []*node{start(t, r.url()), start(t, r.url()), start(t, r.url())}
	var all sync.WaitGroup
	var admitted atomic.Int64
	for i := range 64 {
		all.Go(func() {
			for range 50 {
				if nodes[i%3].Take("k", 1000, 24*time.Hour).Allowed {
					admitted.Add(1)
				}
			}
		})
	}
	all.Wait()
	if got := admitted.Load(); got != 1000 {
		t.Errorf("%d admitted, want 1000", got)
	}
}

func TestARealStoreThatIsKilledIsFoundAgain(t *testing.T) {
	t.Parallel()
	r := startReal(t)
	n := start(t, r.url())
	n.says(t, shares)
	n.Take("k", 3, time.Hour)
	r.kill()
	admitted := 0
	for range 10 {
		if n.Take("k", 3, time.Hour).Allowed {
			admitted++
		}
	}
	if admitted < 2 || admitted > 3 { // one may have been asked of the store that died
		t.Errorf("%d admitted without the store, want the limit at most", admitted)
	}
	n.says(t, away)
	r.start()
	n.says(t, shares)
	var d ports.Decision
	if d = n.Take("k", 3, time.Hour); !d.Allowed || d.Remaining != 2 {
		t.Errorf("a new store has no count: %+v", d)
	}
}

func TestARealStoreThatIsLockedOrFullIsAway(t *testing.T) {
	t.Parallel()
	r := startReal(t, "--requirepass", "hunter22")
	n := start(t, r.url())
	n.says(t, away, "AUTH")
	if !n.Take("k", 1, time.Hour).Allowed || n.Take("k", 1, time.Hour).Allowed {
		t.Error("the node does not count by itself")
	}
	n = start(t, "redis://:hunter22@"+r.address)
	n.says(t, shares)
	if line := n.cfg.Store.String(); strings.Contains(line, "hunter22") {
		t.Error("the password is shown")
	}
	full := startReal(t, "--maxmemory", "100kb", "--maxmemory-policy", "noeviction")
	start(t, full.url()).says(t, away, "OOM")
}

// BenchmarkTake asks from many goroutines, as the calls of a gateway do.
func BenchmarkTake(b *testing.B) {
	r := startReal(b)
	n := start(b, r.url())
	inMemory := ratelimit.New(time.Now)
	for name, l := range map[string]ports.Limiter{"store": n, "memory": inMemory} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(32) // for each processor
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.Take("k", 1<<30, time.Minute)
				}
			})
		})
	}
	if n := n.metric(b, "ratelimit_fallback_total", ""); n != 0 {
		b.Errorf("%v decisions are not the store's", n)
	}
}
