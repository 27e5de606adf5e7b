package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// roundsEnv sets how often the crash tests kill; CI and a developer in doubt set more.
const roundsEnv = "CALLORA_CRASH_ROUNDS"

func rounds(t *testing.T, usual int) int {
	t.Helper()
	set := os.Getenv(roundsEnv)
	if set == "" {
		return usual
	}
	n, err := strconv.Atoi(set)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of rounds", roundsEnv, set)
	}
	return n
}

// crowd makes calls from many callers and remembers which answers it received whole.
type crowd struct {
	key    string
	client *http.Client

	mu     sync.Mutex
	whole  map[string]bool // request ids of complete 200 answers
	counts map[int]int     // by status; 0: no complete answer
}

func newCrowd(key string) *crowd {
	return &crowd{
		key: key, whole: map[string]bool{}, counts: map[int]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience},
	}
}

func (c *crowd) call(origin string, headers ...string) int {
	req, err := http.NewRequest(http.MethodGet, origin+"/v1/call/weather/forecast", nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Api-Key", c.key)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	status, id := 0, ""
	if res, err := c.client.Do(req); err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err == nil {
			status, id = res.StatusCode, res.Header.Get("X-Request-Id")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[status]++
	if status == http.StatusOK {
		c.whole[id] = true
	}
	return status
}

// storm lets callers call until ctx ends.
func (c *crowd) storm(ctx context.Context, callers int, origins ...string) (wait func()) {
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				c.call(origins[i%len(origins)])
			}
		})
	}
	return wg.Wait
}

func (c *crowd) count(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[status]
}

// mixed answers like upstreams do: small, large and chunked.
func mixed(t *testing.T) *httptest.Server {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(make([]byte, 100_000))
		case 1:
			for range 3 {
				_, _ = io.WriteString(w, "piece by piece ")
				w.(http.Flusher).Flush()
			}
		default:
			_, _ = io.WriteString(w, `{"sky":"clear"}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// fast is a server whose leases end soon, so that a test need not wait long for a dead node's.
func fast(address string, upstream *httptest.Server, more ...string) map[string]string {
	settings := append([]string{
		"UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://"), "GATEWAY_RATE_LIMIT_PER_MINUTE", "0", "LOG_LEVEL", "info",
		"LEASE_TTL_MS", "2000", "LEASE_IDLE_MS", "200", "LEASE_EXPIRY_INTERVAL_MS", "100", "REVENUE_LEDGER_INDEXER_INTERVAL_MS", "200",
	}, more...)
	return servingOn(address, settings...)
}

// nothingHeld waits until no money is set aside, as it is some time after the last node died.
func nothingHeld(t *testing.T, handle *sqlx.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for held := int64(-1); held != 0; {
		if err := handle.GetContext(ctx, &held, `SELECT sum(held) FROM vaults, pg_sleep(0.05)`); err != nil {
			t.Fatalf("%d stroops are still held: %v", held, err)
		}
	}
}

func sound(t *testing.T, address string) {
	t.Helper()
	audit := launch(t, map[string]string{"DATABASE_URL": address}, "audit")
	if code := audit.exit(t); code != 0 {
		t.Errorf("audit: code %d\n%s", code, audit.stdout.text())
	}
}

func charged(t *testing.T, handle *sqlx.DB) map[string]bool {
	t.Helper()
	var ids []string
	if err := handle.Select(&ids, `SELECT id FROM usage_events`); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]bool, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out
}

func fund(t *testing.T, handle *sqlx.DB, calls int) (price int64) {
	t.Helper()
	err := handle.Get(&price, `SELECT e.price_stroops FROM api_endpoints e JOIN apis a ON a.id = e.api_id WHERE a.slug = 'weather' AND e.path = '/forecast'`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handle.Exec(`UPDATE vaults SET balance_snapshot = $1`, price*int64(calls)); err != nil {
		t.Fatal(err)
	}
	return price
}

func TestAGatewayKilledUnderLoadLosesAndDoublesNoCharge(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	handle := database(t, address)
	fund(t, handle, 10_000_000)
	crowd := newCrowd(key)
	for range rounds(t, 8) {
		p := launch(t, fast(address, upstream), "serve")
		origin := p.listening(t)
		ctx, stop := context.WithTimeout(t.Context(), time.Duration(100+rand.IntN(700))*time.Millisecond)
		wait := crowd.storm(ctx, 16, origin)
		<-ctx.Done()
		p.signal(t, syscall.SIGKILL)
		wait()
		stop()
		p.exit(t)
	}
	p := launch(t, fast(address, upstream), "serve")
	origin := p.listening(t)
	if status := crowd.call(origin); status != http.StatusOK {
		t.Errorf("after the last restart a call gets %d", status)
	}
	nothingHeld(t, handle)
	sound(t, address)
	events := charged(t, handle)
	for id := range crowd.whole {
		if !events[id] {
			t.Errorf("the answer to call %s was received, and is not charged", id)
		}
	}
	t.Logf("%d whole answers, %d events, by status %v", len(crowd.whole), len(events), crowd.counts)
	if len(crowd.whole) < 100 {
		t.Errorf("only %d calls were served: the test tests nothing", len(crowd.whole))
	}
	p.finish(t)
	sound(t, address)
}

func TestPostgresKilledUnderLoadChargesNothingThatWasNotServed(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	server := dbtest.NewServer(t)
	address := server.DatabaseURL()
	key := seedAt(t, address, upstream.URL)
	fund(t, database(t, address), 10_000_000)
	p := launch(t, fast(address, upstream, "LEASE_TTL_MS", "30000", "LEASE_IDLE_MS", "3000"), "serve")
	origin := p.listening(t)
	crowd := newCrowd(key)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	wait := crowd.storm(ctx, 16, origin)
	more := func(status, than int) {
		t.Helper()
		within, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for crowd.count(status) <= than {
			if within.Err() != nil {
				t.Fatalf("no more calls end with %d: %v", status, crowd.counts)
			}
			pause(within, 10*time.Millisecond)
		}
	}
	for range rounds(t, 3) {
		more(200, crowd.count(200)+200)
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		more(503, crowd.count(503)+20)
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	more(200, crowd.count(200)+200)
	stop()
	wait()
	p.finish(t)
	handle := database(t, address)
	nothingHeld(t, handle)
	sound(t, address)
	events := charged(t, handle)
	for id := range events {
		if !crowd.whole[id] {
			t.Errorf("call %s is charged, and was not served", id)
		}
	}
	for id := range crowd.whole {
		if !events[id] {
			t.Errorf("call %s was served, and is not charged", id)
		}
	}
	t.Logf("%d whole answers, %d events, by status %v", len(crowd.whole), len(events), crowd.counts)
	for status := range crowd.counts {
		if status != 200 && status != 503 && status != 0 {
			t.Errorf("calls ended with %d", status)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func TestMoneyForTenServesTenOfFortyParallelCalls(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	handle := database(t, address)
	fund(t, handle, 10)
	p := launch(t, fast(address, upstream), "serve")
	origin := p.listening(t)
	crowd := newCrowd(key)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { crowd.call(origin) })
	}
	wg.Wait()
	if crowd.count(200) != 10 || crowd.count(402) != 30 {
		t.Errorf("by status %v, want 10 with 200 and 30 with 402", crowd.counts)
	}
	p.finish(t)
	if n := len(charged(t, handle)); n != 10 {
		t.Errorf("%d calls are charged", n)
	}
	sound(t, address)
}

func TestTwoNodesOnOneVaultSpendItToTheLastStroopAndNoFurther(t *testing.T) {
	t.Parallel()
	const calls = 300
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	handle := database(t, address)
	price := fund(t, handle, calls)
	kept := []string{"LEASE_IDLE_MS", "3600000", "LEASE_MAX_AGE_MS", "3600000"} // what is idle goes back when the other is short of it
	one, two := launch(t, fast(address, upstream, kept...), "serve"), launch(t, fast(address, upstream, kept...), "serve")
	origins := []string{one.listening(t), two.listening(t)}
	crowd := newCrowd(key)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() { // a call that is short may be served later, when the other node has given back what it set aside
			for ctx.Err() == nil && crowd.count(200) < calls {
				if crowd.call(origins[i%2]) == http.StatusPaymentRequired {
					pause(ctx, 20*time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	for i := range 20 {
		if status := crowd.call(origins[i%2]); status != http.StatusPaymentRequired {
			t.Errorf("on an empty vault a call gets %d", status)
		}
	}
	one.finish(t)
	two.finish(t)
	var uncollected int64
	if err := handle.Get(&uncollected, `SELECT sum(uncollected) FROM vaults`); err != nil {
		t.Fatal(err)
	}
	if uncollected != price*calls || crowd.count(200) != calls {
		t.Errorf("%d stroops spent of %d by %d calls", uncollected, price*calls, crowd.count(200))
	}
	nothingHeld(t, handle)
	sound(t, address)
}

func TestOneIdempotencyKeyFiftyTimesAtOnceIsChargedOnce(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	one, two := launch(t, fast(address, upstream), "serve"), launch(t, fast(address, upstream), "serve")
	origins := []string{one.listening(t), two.listening(t)}
	crowd := newCrowd(key)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { crowd.call(origins[i%2], "Idempotency-Key", "order-1") })
	}
	wg.Wait()
	if crowd.count(200) != 50 {
		t.Errorf("by status %v", crowd.counts)
	}
	handle := database(t, address)
	if n := len(charged(t, handle)); n != 1 {
		t.Errorf("%d charges", n)
	}
	one.finish(t)
	two.finish(t)
	sound(t, address)
}

// Calls in steady state leave no transactions behind but their batches.
func TestAdmittingACallAsksTheDatabaseNothing(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	handle := database(t, address)
	fund(t, handle, 1_000_000)
	p := launch(t, fast(address, upstream, "METERING_MODE", "async", "METERING_ASYNC_FLUSH_MS", "1000", "LEASE_TTL_MS", "600000", "LEASE_IDLE_MS", "600000",
		"LEASE_TARGET_MS", "60000", "LEASE_EXPIRY_INTERVAL_MS", "60000", "REVENUE_LEDGER_INDEXER_INTERVAL_MS", "600000"), "serve")
	origin := p.listening(t)
	crowd := newCrowd(key)
	statements := func() (n int64) {
		t.Helper()
		err := handle.Get(&n, `SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database, pg_stat_clear_snapshot() WHERE datname = current_database()`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 5 {
		crowd.call(origin)
	}
	pause(t.Context(), 1500*time.Millisecond) // until the statistics of what came before are there
	const calls = 2000
	before := statements()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range calls / 8 {
				crowd.call(origin)
			}
		})
	}
	wg.Wait()
	pause(t.Context(), 1500*time.Millisecond)
	if n := statements() - before; n > calls/20 {
		t.Errorf("%d calls took %d transactions, besides a look for changes each second", calls, n)
	}
	if crowd.count(200) != calls+5 {
		t.Errorf("by status %v", crowd.counts)
	}
	p.finish(t)
}

// seedAt plants the marketplace in a database and returns the consumer's key.
func seedAt(t *testing.T, address, upstream string) (key string) {
	t.Helper()
	p := launch(t, map[string]string{"DATABASE_URL": address}, "seed", "--upstream", upstream)
	if code := p.exit(t); code != 0 {
		t.Fatalf("seed: code %d, %s", code, p.stderr.text())
	}
	lines := strings.Fields(p.stdout.text())
	return lines[len(lines)-1]
}
