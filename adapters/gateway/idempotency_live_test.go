package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// leased shortens the lease of claims.
func leased(d time.Duration) option { return func(c *Config, _ *Deps) { c.ClaimLease = d } }

// hangUp begins a call under an Idempotency-Key, reads its first byte and leaves.
func (h *fixture) hangUp(key string) {
	h.t.Helper()
	conn, in := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nIdempotency-Key: " + key + "\r\nX-Api-Key: " + h.key + "\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	_, _ = res.Body.Read(make([]byte, 1))
	_ = conn.Close()
}

// wantNoClaims waits for the calls to end, and for what they hold to be given back.
func (h *fixture) wantNoClaims() {
	h.t.Helper()
	eventually(h.t, "no claim is held and no memory taken", func() bool {
		h.gw.claims.mu.Lock()
		defer h.gw.claims.mu.Unlock()
		return len(h.gw.claims.live) == 0 && h.gw.claims.memory.Load() == h.gw.cfg.KeepMemory
	})
}

// drip answers piece by piece until the test says so. It counts its calls.
type drip struct {
	calls atomic.Int64
	done  chan struct{}
}

func (d *drip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.calls.Add(1)
	for {
		fmt.Fprint(w, ".")
		w.(http.Flusher).Flush()
		select {
		case <-d.done:
			return
		case <-r.Context().Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestWhoAlwaysHangsUpHasTwoExecutionsForEachCharge(t *testing.T) {
	t.Parallel()
	d := &drip{done: make(chan struct{})}
	h := open(t, d.ServeHTTP)
	const keys = 3
	for i := range keys {
		key := fmt.Sprint("key ", i)
		h.hangUp(key)
		eventually(t, "it is charged", func() bool { return len(h.ledger.charged()) == i+1 })
		h.hangUp(key)
		for range 5 {
			h.once(key, "GET", "/cheap", "").want(t, 409, "IDEMPOTENCY_SPENT")
		}
	}
	if n := d.calls.Load(); n != 2*keys {
		t.Errorf("%d executions for %d charges", n, keys)
	}
	h.wantCharges("0.01", "0.01", "0.01")
	h.wantNoClaims()
}

// Who has hung up once gets the whole answer by its repeat, and then as often as it likes.
func TestTheAnswerOfARepeatIsReplayed(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "one ")
		w.(http.Flusher).Flush()
		if calls.Add(1) == 1 {
			<-r.Context().Done()
		}
		fmt.Fprint(w, "two")
	})
	h.hangUp("k")
	h.wantCharges("0.01")
	repeat := h.once("k", "GET", "/cheap", "")
	if repeat.err != nil || string(repeat.body) != "one two" || repeat.Header.Get("Idempotent-Replayed") != "" {
		t.Fatalf("%v %q %v", repeat.err, repeat.body, repeat.Header)
	}
	for range 3 {
		h.once("k", "GET", "/cheap", "").wantReplayOf(t, repeat)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("the upstream was called %d times", n)
	}
	h.wantCharges("0.01")
	h.wantNoClaims()
}

func TestOfManyRepeatsAtOnceOneIsRun(t *testing.T) {
	t.Parallel()
	var calls, live, most atomic.Int64
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		first := calls.Add(1) == 1
		most.Store(max(most.Load(), live.Add(1)))
		defer live.Add(-1)
		fmt.Fprint(w, "one ")
		w.(http.Flusher).Flush()
		if first {
			<-r.Context().Done()
			return
		}
		wait(r.Context(), 50*time.Millisecond)
		fmt.Fprint(w, "two")
	})
	h.hangUp("k")
	h.wantCharges("0.01")
	eventually(t, "the first execution is over", func() bool { return live.Load() == 0 })
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if got := h.once("k", "GET", "/cheap", ""); got.err != nil || string(got.body) != "one two" || got.Header.Get("X-Callora-Charge") != zeroCharge {
				t.Errorf("%v %d %q %v", got.err, got.StatusCode, got.body, got.Header)
			}
		})
	}
	all.Wait()
	if calls.Load() != 2 || most.Load() != 1 {
		t.Errorf("%d executions, %d at once", calls.Load(), most.Load())
	}
	h.wantCharges("0.01")
}

func TestARepeatThatFailsIsOfferedAgain(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		switch calls.Add(1) {
		case 2:
			w.WriteHeader(500)
		case 3:
			fmt.Fprint(w, "broken")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write(make([]byte, keepMost+1))
		}
	})
	h.once("k", "GET", "/cheap", "").want(t, 200, "")
	if got := h.once("k", "GET", "/cheap", ""); got.StatusCode != 500 {
		t.Errorf("%d", got.StatusCode)
	}
	if got := h.once("k", "GET", "/cheap", ""); got.err == nil {
		t.Errorf("%d %q", got.StatusCode, got.body)
	}
	if got := h.once("k", "GET", "/cheap", ""); got.err != nil || len(got.body) != keepMost+1 {
		t.Errorf("%v, %d bytes", got.err, len(got.body))
	}
	h.once("k", "GET", "/cheap", "").want(t, 409, "IDEMPOTENCY_SPENT")
	h.wantCharges("0.01")
	h.wantNoClaims()
}

// Nobody else runs beside a stream, however much longer than a claim it is.
func TestAStreamLongerThanItsLeaseKeepsItsKey(t *testing.T) {
	t.Parallel()
	d := &drip{done: make(chan struct{})}
	h := open(t, d.ServeHTTP, leased(2*time.Second), within(time.Second))
	first := make(chan reply, 1)
	go func() { first <- h.once("k", "GET", "/cheap", "") }()
	for range 3 { // together they wait for longer than the lease
		eventually(t, "the claim is held", func() bool { return h.ledger.asked("claim") > 0 })
		h.once("k", "GET", "/cheap", "").want(t, 409, "IDEMPOTENCY_IN_PROGRESS")
	}
	close(d.done)
	if got := <-first; got.err != nil {
		t.Error(got.err)
	}
	again := h.once("k", "GET", "/cheap", "")
	if again.Header.Get("Idempotent-Replayed") != "true" || d.calls.Load() != 1 {
		t.Errorf("%v, %d executions", again.Header, d.calls.Load())
	}
	h.wantCharges("0.01")
	h.wantNoClaims()
}

// A node that cannot reach the store cuts its stream, uncharged, before another may run; the heir has its event.
func TestAStreamWithoutTheStoreIsCutBeforeItsKeyIsTakenOver(t *testing.T) {
	t.Parallel()
	d := &drip{done: make(chan struct{})}
	const lease = 3 * time.Second
	h := open(t, d.ServeHTTP, leased(lease))
	start := time.Now()
	res, err := client.RoundTrip(h.keyed("k"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	h.ledger.set(func(l *ledger) { l.fail = []string{"extend", "release"} })
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("the stream has an end")
	}
	if took := time.Since(start); took >= lease {
		t.Errorf("it lived %s on a claim of %s", took, lease)
	}
	h.wantCharges()
	h.ledger.set(func(l *ledger) { l.fail = nil })
	close(d.done)
	heir := h.once("k", "GET", "/cheap", "")
	if heir.err != nil || heir.StatusCode != 200 || heir.Header.Get("X-Request-Id") != res.Header.Get("X-Request-Id") {
		t.Errorf("%v %d as %s, want %s", heir.err, heir.StatusCode, heir.Header.Get("X-Request-Id"), res.Header.Get("X-Request-Id"))
	}
	h.wantCharges("0.01")
	h.wantNoClaims()
}

// keyed is a GET of /cheap under an Idempotency-Key.
func (h *fixture) keyed(key string) *http.Request {
	r := h.request("GET", "/cheap", nil)
	r.Header.Set("Idempotency-Key", key)
	return r
}

// takenOver lets another node take the key of the call under way over.
func (h *fixture) takenOver() {
	h.ledger.AgeKeys(time.Minute)
	h.ledger.mu.Lock()
	ask := h.ledger.claim
	h.ledger.mu.Unlock()
	ask.Event = newID()
	if got, err := h.ledger.Bank.Claim(h.t.Context(), ask); err != nil || got.Outcome != ports.IdempotencyClaimed {
		h.t.Errorf("%+v, %v: the key is not taken over", got, err)
	}
}

func TestACallThatHasLostItsKeyIsNotCharged(t *testing.T) {
	t.Parallel()
	var h *fixture
	h = open(t, func(w http.ResponseWriter, _ *http.Request) {
		h.takenOver()
		fmt.Fprint(w, "late")
	})
	h.once("k", "GET", "/cheap", "").want(t, 503, "METERING_UNAVAILABLE")
	h.wantCharges()
	h.wantNoClaims()
}

// The key may be lost after the answer was stored: then the charge finds it.
func TestACallThatLosesItsKeyBeforeItsChargeIsNotCharged(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.ledger.set(func(l *ledger) { l.before = h.takenOver })
	h.once("k", "GET", "/cheap", "").want(t, 503, "METERING_UNAVAILABLE")
	h.wantCharges()
	h.wantNoClaims()
}

func TestAnIdempotencyKeyWithUpgradeIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	r := h.keyed("k")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	got := h.do(r)
	got.want(t, 400, "IDEMPOTENCY_UPGRADE")
	if !strings.Contains(string(got.body), `"field":"header.Idempotency-Key"`) {
		t.Errorf("%s", got.body)
	}
	h.wantCharges()
	h.wantNoClaims()
}

// The caller has been served: it pays, though its answer cannot be replayed.
func TestAnAnswerThatCannotBeStoredIsChargedAndNotKept(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.ledger.set(func(l *ledger) { l.fail = []string{"keep"} })
	first := h.once("k", "GET", "/cheap", "")
	first.want(t, 200, "")
	h.wantCharges("0.01")
	h.ledger.set(func(l *ledger) { l.fail = nil })
	again := h.once("k", "GET", "/cheap", "")
	if again.StatusCode != 200 || again.Header.Get("X-Callora-Charge") != zeroCharge || again.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("%d %v", again.StatusCode, again.Header)
	}
	h.once("k", "GET", "/cheap", "").wantReplayOf(t, again)
	h.wantCharges("0.01")
	h.wantNoClaims()
}

func TestARepeatWhoseAnswerCannotBeStoredIsUsedUp(t *testing.T) {
	t.Parallel()
	h := open(t, echo, leased(1500*time.Millisecond))
	h.ledger.set(func(l *ledger) { l.fail = []string{"keep"} })
	for range 2 {
		h.once("k", "GET", "/cheap", "").want(t, 200, "")
	}
	h.once("k", "GET", "/cheap", "").want(t, 409, "IDEMPOTENCY_SPENT")
	h.wantCharges("0.01")
	h.wantNoClaims()
}

func TestAnswersAreKeptWithinTheMemoryOfTheNode(t *testing.T) {
	t.Parallel()
	const memory = 100 << 10
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		for range 5 {
			_, _ = w.Write(make([]byte, 10<<10))
			w.(http.Flusher).Flush()
		}
		if r.URL.Query().Has("large") {
			_, _ = w.Write(make([]byte, memory))
		}
	}, func(c *Config, _ *Deps) { c.KeepMemory = memory })
	for path, replayed := range map[string]string{"/cheap?small": "true", "/cheap?large": ""} {
		h.once(path, "GET", path, "").want(t, 200, "")
		h.wantNoClaims()
		again := h.once(path, "GET", path, "")
		if again.err != nil || again.StatusCode != 200 || again.Header.Get("Idempotent-Replayed") != replayed {
			t.Errorf("%s: %v %d %v", path, again.err, again.StatusCode, again.Header)
		}
	}
	h.wantCharges("0.01", "0.01")
	h.wantNoClaims()
}

func TestReplaysToSlowCallersStayWithinTheMemoryOfTheNode(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 20<<10)) },
		func(c *Config, _ *Deps) { c.KeepMemory = 60 << 10 })
	first := h.once("k", "GET", "/cheap", "")
	h.once("k", "GET", "/cheap", "").wantReplayOf(t, first)
	eventually(t, "a caller who takes nothing has memory", func() bool { return h.gw.claims.take(50 << 10) }) // the replay has given its back
	got := h.once("k", "GET", "/cheap", "")
	got.want(t, 503, "SERVICE_UNAVAILABLE")
	if got.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", got.Header)
	}
	h.gw.claims.give(50 << 10)
	h.once("k", "GET", "/cheap", "").wantReplayOf(t, first)
	h.wantCharges("0.01")
	h.wantNoClaims()
}

func TestALargeHeaderIsNotKept(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", keepMost))
		fmt.Fprint(w, "small")
	})
	for range 2 {
		if got := h.once("k", "GET", "/cheap", ""); got.StatusCode != 200 || got.Header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%d, replayed %q", got.StatusCode, got.Header.Get("Idempotent-Replayed"))
		}
	}
	h.once("k", "GET", "/cheap", "").want(t, 409, "IDEMPOTENCY_SPENT")
	h.wantCharges("0.01")
}

// However a call ends that was not charged, the next under its key runs at once.
func TestEveryCallThatIsNotChargedFreesItsKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		upstream http.HandlerFunc
		set      func(h *fixture)
		call     func(h *fixture)
	}{
		"the upstream refuses":  {upstream: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }},
		"the upstream hangs up": {upstream: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"the upstream breaks off": {upstream: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "part")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		"the upstream is silent": {upstream: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"the charge is refused":  {set: func(h *fixture) { h.ledger.refuses(true) }},
		"the claim's answer is lost": {set: func(h *fixture) {
			h.ledger.set(func(l *ledger) { l.lose = "claim" })
		}},
		"a panic": {set: func(h *fixture) { h.gw.deps.Charger = panicking{} }},
		"the caller leaves": {
			upstream: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			call: func(h *fixture) {
				conn, _ := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nX-Api-Key: " + h.key + "\r\n\r\n")
				eventually(h.t, "the call is claimed", func() bool { return h.ledger.asked("claim") == 1 })
				_ = conn.Close()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var second atomic.Bool
			h := open(t, func(w http.ResponseWriter, r *http.Request) {
				if end.upstream != nil && !second.Load() {
					end.upstream(w, r)
					return
				}
				fmt.Fprint(w, "done")
			}, within(time.Second))
			charger := h.gw.deps.Charger
			if end.set != nil {
				end.set(h)
			}
			if end.call != nil {
				end.call(h)
			} else if res, err := client.RoundTrip(h.keyed("k")); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			h.wantCharges()
			h.wantNoClaims()
			second.Store(true)
			h.gw.deps.Charger = charger
			h.ledger.refuses(false)
			h.ledger.set(func(l *ledger) { l.lose = "" })
			if got := h.once("k", "GET", "/cheap", ""); got.StatusCode != 200 || got.Header.Get("X-Callora-Charge") == zeroCharge {
				t.Errorf("%d %v", got.StatusCode, got.Header)
			}
			h.wantCharges("0.01")
		})
	}
}

type panicking struct{ ports.Charger }

func (panicking) Reserve(context.Context, id.ID, money.Amount) (ports.Hold, error) {
	panic(errors.New("a fault of ours"))
}
