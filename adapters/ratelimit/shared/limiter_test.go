package shared

import (
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func TestNodesOnOneStoreKeepTheContractTogether(t *testing.T) {
	t.Parallel()
	portstest.LimiterContract(t, func(t *testing.T) portstest.LimiterWorld {
		m, advance := embedded(t)
		a, b := start(t, "redis://"+m.Addr()), start(t, "redis://"+m.Addr())
		t.Cleanup(func() {
			if n := a.metric(t, "ratelimit_fallback_total", "") + b.metric(t, "ratelimit_fallback_total", ""); n != 0 {
				t.Errorf("%v decisions are not the store's; the log says %q %q", n, a.said(), b.said())
			}
		})
		return portstest.LimiterWorld{Limiter: a, Other: b, Advance: advance}
	})
}

func TestWithoutAStoreANodeKeepsTheContractAlone(t *testing.T) {
	t.Parallel()
	portstest.LimiterContract(t, func(t *testing.T) portstest.LimiterWorld {
		now := time.Now()
		l := New(Config{Now: func() time.Time { return now }})
		return portstest.LimiterWorld{Limiter: l, Advance: func(d time.Duration) { now = now.Add(d) }}
	})
}

func TestAKeyAtRestLeavesTheStore(t *testing.T) {
	t.Parallel()
	m, advance := embedded(t)
	n := start(t, "redis://"+m.Addr())
	n.Take("k", 10, time.Hour)
	n.Take("k", 10, time.Hour)
	n.Take("given back", 10, time.Hour)
	n.Return("given back", 10, time.Hour)
	if got := strings.Join(m.Keys(), " "); got != "callora:test:limit:k callora:test:nodes" {
		t.Errorf("the store has %s", got)
	}
	advance(12*time.Minute - time.Millisecond)
	if !m.Exists("callora:test:limit:k") {
		t.Error("forgotten too early")
	}
	advance(time.Millisecond)
	if m.Exists("callora:test:limit:k") {
		t.Error("not forgotten")
	}
	if m.TTL("callora:test:nodes") != 0 {
		t.Error("a store that makes room among keys that expire would forget the nodes first")
	}
}

func TestAServersClockThatIsSetBackHoldsNobodyLongerThanTheWindow(t *testing.T) {
	t.Parallel()
	m, advance := embedded(t)
	n := start(t, "redis://"+m.Addr())
	for range 4 {
		n.Take("k", 4, time.Minute)
	}
	advance(-24 * time.Hour)
	if got := n.Take("k", 4, time.Minute); got != (ports.Decision{Limit: 4, Reset: time.Minute, RetryAfter: 15 * time.Second}) {
		t.Errorf("%+v", got)
	}
}

func TestTheNodesAreCountedAndALimitIsSharedAmongThem(t *testing.T) {
	t.Parallel()
	m, advance := embedded(t)
	a := start(t, "redis://"+m.Addr())
	b, c := start(t, "redis://"+m.Addr()), start(t, "redis://"+m.Addr())
	for n, want := range map[*node]float64{a: 3, b: 3, c: 3} {
		until(t, "three nodes know of each other", func() bool { return n.metric(t, "ratelimit_nodes", "") == want })
	}
	for limit, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 599: 200, 600: 200} {
		if got := a.share(limit); got != want {
			t.Errorf("of %d: %d, want %d", limit, got, want)
		}
	}
	c.stop()
	until(t, "a node that stops counts no more", func() bool { return a.metric(t, "ratelimit_nodes", "") == 2 })
	if _, err := m.ZAdd("callora:test:nodes", 1_800_000_000, "one that will be killed"); err != nil {
		t.Fatal(err)
	}
	until(t, "it is counted", func() bool { return a.metric(t, "ratelimit_nodes", "") == 3 })
	advance(6 * time.Second)
	until(t, "it has been silent for too long", func() bool { return a.metric(t, "ratelimit_nodes", "") == 2 })

	m.Close()
	until(t, "the store's end is noticed", func() bool { a.Take("another", 1000, time.Hour); return a.Up() != nil })
	a.says(t, shares, `"nodes":1`)
	a.says(t, away, `"nodes":2`)
	admitted := 0
	for range 20 {
		d := a.Take("k", 9, time.Hour)
		if d.Allowed {
			admitted++
		}
		if d.Limit != 9 {
			t.Fatalf("the limit is the key's: %+v", d)
		}
	}
	if admitted != 5 {
		t.Errorf("%d admitted, want a half of 9, rounded up", admitted)
	}
}

func TestDeploymentsOnOneStoreDoNotCountForEachOther(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	a := start(t, "redis://"+m.Addr())
	b := start(t, "redis://"+m.Addr(), func(c *Config) { c.Prefix = "callora:other:" })
	if !a.Take("k", 1, time.Hour).Allowed || !b.Take("k", 1, time.Hour).Allowed || a.Take("k", 1, time.Hour).Allowed {
		t.Error("one deployment's events count for another")
	}
	if a.share(2) != 2 || b.share(2) != 2 {
		t.Error("one deployment's nodes count for another")
	}
}

func TestAStoreThatIsFlushedCostsNoCallItsDecision(t *testing.T) {
	t.Parallel()
	m, _ := embedded(t)
	n := start(t, "redis://"+m.Addr())
	n.Take("k", 1, time.Hour)
	m.FlushAll()
	if d := n.Take("k", 1, time.Hour); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if n.metric(t, "ratelimit_fallback_total", "") != 0 || n.metric(t, "ratelimit_store_request_duration_seconds", "") < 2 ||
		n.metric(t, "ratelimit_store_requests_total", "answered") < 2 || n.metric(t, "ratelimit_store_up", "") != 1 {
		t.Error("the metrics do not show it")
	}
}
