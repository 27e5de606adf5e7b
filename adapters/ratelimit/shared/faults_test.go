package shared

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// late is a time-out that this machine keeps when nothing is wrong, and that a test can wait for.
const late = 400 * time.Millisecond

func TestASilentNetworkCostsThreeCallsATimeOutAndIsHealed(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	p := dbtest.NewProxy(t, "redis://"+m.Addr())
	n := start(t, p.URL(), within(late), connecting(2*time.Second))
	n.says(t, shares)
	if !n.Take("k", 2, time.Hour).Allowed || n.Up() != nil {
		t.Fatal("it is not up")
	}
	p.Silence()
	admitted := 0
	for range 100 {
		if n.Take("k", 2, time.Hour).Allowed {
			admitted++
		}
	}
	if admitted != 2 {
		t.Errorf("%d admitted by the node's own count, want its share", admitted)
	}
	n.says(t, away, "deadline exceeded")
	if asked := n.metric(t, "ratelimit_store_requests_total", "timeout"); asked < 1 || asked > mostFailures {
		t.Errorf("%v calls waited for a store that says nothing", asked)
	}
	if n.Up() == nil || n.metric(t, "ratelimit_store_up", "") != 0 || n.metric(t, "ratelimit_fallback_total", "") != 100 {
		t.Error("the metrics do not show it")
	}
	p.Heal(t, "redis://"+m.Addr())
	n.says(t, shares)
	if d := n.Take("k", 2, time.Hour); !d.Allowed || d.Remaining != 0 || n.Up() != nil || n.metric(t, "ratelimit_store_up", "") != 1 {
		t.Errorf("the store has kept its count: %+v", d)
	}
}

func TestAnIdleNodeNoticesThatTheNetworkIsSilent(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	p := dbtest.NewProxy(t, "redis://"+m.Addr())
	n := start(t, p.URL(), within(late))
	n.says(t, shares)
	p.Silence()
	n.says(t, away)
}

func TestAStoreThatIsSilentAtTheStartStopsNoNode(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	p := dbtest.NewProxy(t, "redis://"+m.Addr())
	p.Silence()
	n := start(t, p.URL(), within(late), connecting(late))
	n.says(t, away, p.URL()[len("redis://"):])
	if !n.Take("k", 1, time.Hour).Allowed || n.Take("k", 1, time.Hour).Allowed {
		t.Error("the node does not count by itself")
	}
	n.Return("k", 1, time.Hour)
	if !n.Take("k", 1, time.Hour).Allowed {
		t.Error("it does not take back what it has admitted by itself")
	}
	p.Heal(t, "redis://"+m.Addr())
	n.says(t, shares)
}

func TestANodeStopsWhileItConnectsToASilentStore(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	p := dbtest.NewProxy(t, "redis://"+m.Addr())
	p.Silence()
	n := start(t, p.URL(), connecting(2*time.Second))
	n.stop()
}

func TestAStoreThatRestartsIsFoundAgainAndOneLineTellsOfEachChange(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	n := start(t, "redis://"+m.Addr())
	n.says(t, shares)
	for range 2 {
		m.Close()
		until(t, "its end is noticed", func() bool { n.Take("k", 1000, time.Hour); return n.Up() != nil })
		for range 1000 {
			n.Take("k", 1000, time.Hour)
		}
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
		n.says(t, away)
		n.says(t, shares)
	}
	if len(n.lines) > 0 {
		t.Errorf("it says more: %s", <-n.lines)
	}
}

func TestAStoreThatRefusesIsAsGoodAsAway(t *testing.T) {
	t.Parallel()
	for _, refusal := range []string{
		"OOM command not allowed when used memory > 'maxmemory'.", "READONLY You can't write against a read only replica.",
		"LOADING Redis is loading the dataset in memory", "NOPERM this user has no permissions to run the 'evalsha' command",
	} {
		t.Run(refusal[:4], func(t *testing.T) {
			t.Parallel()
			m, _ := embedded(t)
			n := start(t, "redis://"+m.Addr())
			n.says(t, shares)
			m.SetError(refusal)
			for i := range 10 {
				if got := n.Take("k", 5, time.Hour); got.Allowed != (i < 5) {
					t.Errorf("call %d: %+v", i, got)
				}
			}
			n.says(t, away, refusal)
			if failed := n.metric(t, "ratelimit_store_requests_total", "failed"); failed < 1 || failed > mostFailures {
				t.Errorf("%v calls asked a store that refuses", failed)
			}
			m.SetError("")
			n.says(t, shares)
		})
	}
}

func TestAWrongPasswordIsToldAndNotShown(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	m.RequireUserAuth("callora", "another")
	n := start(t, "redis://callora:hunter22@"+m.Addr()+"/2")
	select {
	case line := <-n.lines:
		if !strings.Contains(line, away) || !strings.Contains(line, "WRONGPASS") || !strings.Contains(line, "database 2") || strings.Contains(line, "hunter22") {
			t.Errorf("the log says %s", line)
		}
	case <-time.After(patience):
		t.Fatal("the log says nothing")
	}
	n.stop() // the server's list of users may not be changed beside a client
	m.RequireUserAuth("callora", "hunter22")
	n = start(t, "redis://callora:hunter22@"+m.Addr()+"/2")
	n.says(t, shares)
	n.Take("k", 1, time.Hour)
	if !m.DB(2).Exists("callora:test:limit:k") {
		t.Error("it counts in another database")
	}
}

// held makes the server keep the calls of key waiting until they are let go.
func held(m *miniredis.Miniredis, key string) (arrived <-chan struct{}, letGo func()) {
	came, gate := make(chan struct{}, 1), make(chan struct{})
	m.Server().SetPreHook(func(_ *server.Peer, _ string, args ...string) bool {
		if strings.Contains(strings.Join(args, " "), ":limit:"+key+" ") {
			select {
			case came <- struct{}{}:
			default:
			}
			<-gate
		}
		return false
	})
	return came, sync.OnceFunc(func() { close(gate) })
}

func TestOneLateAnswerIsNoOutageAndIsNobodyElses(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	n := start(t, "redis://"+m.Addr(), within(late))
	n.says(t, shares)
	n.Take("first", 1, time.Hour) // the store has its script now
	arrived, letGo := held(m, "late")
	defer letGo()
	if d := n.Take("late", 7, time.Hour); !d.Allowed || d.Limit != 7 || d.Remaining != 6 {
		t.Errorf("%+v", d)
	}
	<-arrived
	letGo()
	for i := range 3 {
		if d := n.Take("next", 100, time.Hour); d.Limit != 100 || d.Remaining != 99-i {
			t.Errorf("the answer is another call's: %+v", d)
		}
	}
	if n.Up() != nil || n.metric(t, "ratelimit_store_requests_total", "timeout") != 1 || len(n.lines) > 0 {
		t.Error("one late answer was taken for an outage")
	}
	if d := n.Take("late", 7, time.Hour); d.Remaining != 5 {
		t.Errorf("the late call has been counted by the store too: %+v", d)
	}
}

func TestNoCallWaitsLongerThanTheTimeOutHoweverManyThereAre(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	p := dbtest.NewProxy(t, "redis://"+m.Addr())
	n := start(t, p.URL(), within(late))
	n.says(t, shares)
	p.Silence()
	var all sync.WaitGroup
	var admitted atomic.Int64
	for range 3 * mostWaiting {
		all.Go(func() {
			if n.Take("k", 10, 24*time.Hour).Allowed {
				admitted.Add(1)
			}
		})
	}
	all.Wait()
	if got := admitted.Load(); got != 10 {
		t.Errorf("%d admitted, want 10", got)
	}
	if asked := n.metric(t, "ratelimit_store_requests_total", "timeout"); asked > mostWaiting {
		t.Errorf("%v calls waited", asked)
	}
	n.says(t, away)
}

func TestCallsThatWaitAreLetGoWhenTheNodeStops(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	n := start(t, "redis://"+m.Addr(), within(time.Hour))
	arrived, letGo := held(m, "k")
	defer letGo()
	answer := make(chan bool)
	go func() { answer <- n.Take("k", 1, time.Hour).Allowed }()
	<-arrived
	n.link.Load().close() // as its end does
	if !<-answer {
		t.Error("refused")
	}
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(nil) // for its certificate of 127.0.0.1
	defer s.Close()
	m, err := miniredis.RunTLS(&tls.Config{Certificates: s.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	start(t, "rediss://"+m.Addr()).says(t, away, "certificate")
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	n := start(t, "rediss://"+m.Addr(), func(c *Config) { c.Store.tls.RootCAs = trusted })
	n.says(t, shares)
	if !n.Take("k", 1, time.Hour).Allowed || n.metric(t, "ratelimit_fallback_total", "") != 0 {
		t.Error("not by the store")
	}
}
