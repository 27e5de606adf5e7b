package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// once is a call under an Idempotency-Key.
func (h *fixture) once(key, method, path, body string) reply {
	h.t.Helper()
	var r *http.Request
	if body == "" {
		r = h.request(method, path, nil)
	} else {
		r = h.request(method, path, strings.NewReader(body))
	}
	r.Header.Set("Idempotency-Key", key)
	return h.do(r)
}

func (r reply) wantReplayOf(t *testing.T, first reply) {
	t.Helper()
	if r.StatusCode != first.StatusCode || !bytes.Equal(r.body, first.body) || r.Header.Get("X-Request-Id") != first.Header.Get("X-Request-Id") {
		t.Errorf("replayed %d %.80q as %s, want %d %.80q as %s", r.StatusCode, r.body, r.Header.Get("X-Request-Id"),
			first.StatusCode, first.body, first.Header.Get("X-Request-Id"))
	}
	if r.Header.Get("Idempotent-Replayed") != "true" || r.Header.Get("X-Callora-Charge") != zeroCharge {
		t.Errorf("replayed with %v", r.Header)
	}
}

func TestARetryGetsTheFirstAnswerWithoutACharge(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(201)
		switch r.URL.Query().Get("kind") {
		case "stream":
			for range 3 {
				fmt.Fprintf(w, "%s.", body)
				w.(http.Flusher).Flush()
			}
		case "long":
			w.Write(make([]byte, 100_000))
		case "whole":
			fmt.Fprintf(w, "answer to %s", body)
		}
	})
	for i, query := range []string{"?kind=whole", "?kind=stream", "?kind=long", ""} {
		key := fmt.Sprint("key ", i)
		first := h.once(key, "POST", "/cheap"+query, "body")
		if first.StatusCode != 201 || first.Header.Get("Idempotent-Replayed") != "" || first.Header.Get("X-Callora-Charge") != "0.0100000" {
			t.Fatalf("%d %v", first.StatusCode, first.Header)
		}
		eventually(t, "it is charged", func() bool { return len(h.ledger.charged()) == i+1 })
		for range 2 {
			again := h.once(key, "POST", "/cheap"+query, "body")
			again.wantReplayOf(t, first)
			if len(again.Header.Values("Set-Cookie")) != 2 {
				t.Errorf("header %v", again.Header)
			}
		}
	}
	if n := calls.Load(); n != 4 {
		t.Errorf("the upstream was called %d times", n)
	}
	h.wantCharges("0.01", "0.01", "0.01", "0.01")
}

func TestManyRetriesAtOnceAreOneCall(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		wait(r.Context(), 20*time.Millisecond)
		fmt.Fprint(w, "done")
	})
	var wg sync.WaitGroup
	var replayed atomic.Int64
	for range 50 {
		wg.Go(func() {
			got := h.once("same", "POST", "/cheap", "body")
			if got.StatusCode != 200 || string(got.body) != "done" {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			if got.Header.Get("Idempotent-Replayed") != "" {
				replayed.Add(1)
			}
		})
	}
	wg.Wait()
	if calls.Load() != 1 || replayed.Load() != 49 {
		t.Errorf("%d calls, %d replays", calls.Load(), replayed.Load())
	}
	h.wantCharges("0.01")
}

func TestAKeyThatWasUsedForAnotherRequestIsAConflict(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	first := h.once("k", "POST", "/cheap?a=1", "body")
	first.want(t, 200, "")
	for _, other := range []reply{
		h.once("k", "POST", "/cheap?a=1", "other body"), h.once("k", "POST", "/cheap?a=1", ""), h.once("k", "POST", "/cheap?a=2", "body"),
		h.once("k", "PUT", "/cheap?a=1", "body"), h.once("k", "POST", "/expensive?a=1", "body"),
	} {
		other.want(t, 409, "IDEMPOTENCY_CONFLICT")
		if !bytes.Contains(other.body, []byte("Idempotency key conflict: payload mismatch")) {
			t.Errorf("%s", other.body)
		}
	}
	h.once("k", "POST", "/./cheap?a=1", "body").wantReplayOf(t, first) // the same call in other words
	h.wantCharges("0.01")
}

func TestABadIdempotencyKeyIs400(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	for _, lines := range []string{
		"Idempotency-Key:\r\n", "Idempotency-Key: " + strings.Repeat("k", 256) + "\r\n", "Idempotency-Key: caf\u00e9\r\n",
		"Idempotency-Key: a\tb\r\n", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
	} {
		_, in := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n" + lines + "\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); res.StatusCode != 400 || !bytes.Contains(body, []byte(`"field":"header.Idempotency-Key"`)) {
			t.Errorf("%q: %d %s", lines, res.StatusCode, body)
		}
	}
	h.once(strings.Repeat("k", 255), "GET", "/cheap", "").want(t, 200, "")
	h.wantCharges("0.01")
}

func TestACallThatWasNotChargedGivesItsKeyUp(t *testing.T) {
	t.Parallel()
	status := 500
	h := open(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	h.ledger.Fund(h.owner, money.Amount{})
	h.once("k", "GET", "/cheap", "").want(t, 402, "PAYMENT_REQUIRED")
	h.ledger.Fund(h.owner, money.MustParse("1"))
	if got := h.once("k", "GET", "/cheap", ""); got.StatusCode != 500 {
		t.Fatal(got.StatusCode)
	}
	status = 200
	h.ledger.refuses(true)
	h.once("k", "GET", "/cheap", "").want(t, 503, "METERING_UNAVAILABLE")
	h.ledger.refuses(false)
	if got := h.once("k", "GET", "/cheap", ""); got.StatusCode != 200 || got.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
	h.wantCharges("0.01")
}

// An answer that cannot be kept is fetched again for free, by the same request only, and once.
func TestAnAnswerTooLargeToKeepIsFetchedAgain(t *testing.T) {
	t.Parallel()
	var calls, broken atomic.Int64
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			broken.Add(1)
			return
		}
		_, _ = w.Write(make([]byte, keepMost+1))
	})
	first := h.once("k", "POST", "/cheap", "body")
	h.wantCharges("0.01")
	h.once("k", "POST", "/cheap", "another body").want(t, 409, "IDEMPOTENCY_CONFLICT")
	if n := calls.Load(); n != 1 {
		t.Errorf("the upstream was called %d times: a body that had come was not looked at first", n)
	}
	inChunks := h.request("POST", "/cheap", io.MultiReader(strings.NewReader("another body")))
	inChunks.Header.Set("Idempotency-Key", "k")
	h.do(inChunks).want(t, 409, "IDEMPOTENCY_CONFLICT")
	eventually(t, "the upstream had no whole request", func() bool { return broken.Load() == 1 })
	h.once("k", "POST", "/cheap", "").want(t, 409, "IDEMPOTENCY_CONFLICT")
	again := h.once("k", "POST", "/cheap", "body")
	if len(again.body) != keepMost+1 || again.Header.Get("X-Callora-Charge") != zeroCharge || again.Header.Get("X-Request-Id") != first.Header.Get("X-Request-Id") {
		t.Errorf("%d bytes, %v", len(again.body), again.Header)
	}
	for range 2 {
		h.once("k", "POST", "/cheap", "body").want(t, 409, "IDEMPOTENCY_SPENT")
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("the upstream was called %d times", n)
	}
	h.wantCharges("0.01")
}

func TestAnAnswerWithTrailersIsFetchedAgain(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "7")
	})
	for range 2 {
		if got := h.once("k", "GET", "/cheap", ""); string(got.body) != "body" || got.Trailer.Get("X-Sum") != "7" {
			t.Errorf("%q %v", got.body, got.Trailer)
		}
	}
	h.wantCharges("0.01")
}

// The first caller pays for what it began to take; its retry is free and whole.
func TestARetryAfterHangingUpIsFree(t *testing.T) {
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
	conn, in := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nX-Api-Key: " + h.key + "\r\n\r\n")
	if _, err := in.ReadByte(); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	h.wantCharges("0.01")
	if got := h.once("k", "GET", "/cheap", ""); string(got.body) != "one two" || got.Header.Get("X-Callora-Charge") != zeroCharge {
		t.Errorf("%q %v", got.body, got.Header)
	}
	h.wantCharges("0.01")
}

func TestHeadIsReplayedWithItsLength(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "123456") })
	h.once("k", "HEAD", "/cheap", "")
	if got := h.once("k", "HEAD", "/cheap", ""); got.ContentLength != 123456 || got.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%d %v", got.ContentLength, got.Header)
	}
	h.wantCharges("0.01")
}

func TestACallThatGoesOnTooLongIsInProgress(t *testing.T) {
	t.Parallel()
	arrived, done := make(chan struct{}), make(chan struct{})
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		for {
			select {
			case <-done:
				return
			case arrived <- struct{}{}:
			case <-time.After(10 * time.Millisecond):
				fmt.Fprint(w, ".") // it moves, so it lives
				w.(http.Flusher).Flush()
			}
		}
	}, within(150*time.Millisecond))
	first := make(chan reply, 1)
	go func() { first <- h.once("k", "GET", "/cheap", "") }()
	<-arrived
	got := h.once("k", "GET", "/cheap", "")
	got.want(t, 409, "IDEMPOTENCY_IN_PROGRESS")
	if got.Header.Get("Retry-After") != "1" || !bytes.Contains(got.body, []byte("Request already in progress")) {
		t.Errorf("%s %v", got.body, got.Header)
	}
	conn, _ := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nX-Api-Key: " + h.key + "\r\n\r\n")
	_ = conn.Close() // who waits may leave
	close(done)
	if got := <-first; got.err != nil {
		t.Error(got.err)
	}
	h.wantCharges("0.01")
}

func TestWithoutTheStoreOfKeysACallIsNotMade(t *testing.T) {
	t.Parallel()
	h := open(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	h.ledger.set(func(l *ledger) { l.fail = []string{"claim"} })
	h.once("k", "GET", "/cheap", "").want(t, 503, "METERING_UNAVAILABLE")
	h.wantCharges()
}

func TestAKeyThatCannotBeGivenUpIsReported(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	h.ledger.set(func(l *ledger) { l.fail = []string{"release"} })
	h.once("k", "GET", "/cheap", "")
	if h.logs.FilterMessageSnippet("stays claimed").Len() != 1 {
		t.Error("nothing is logged")
	}
	h.wantCharges()
}

func TestTheKeyBelongsToTheConsumer(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.once("k", "GET", "/cheap", "").want(t, 200, "")
	theirs := h.store.addKey(t, apikey.Key{UserID: newID(), APIID: h.api.ID, Scopes: []string{"*"}})
	second := h.store.addKey(t, apikey.Key{UserID: h.owner, APIID: h.api.ID, Scopes: []string{"*"}})
	for key, replayed := range map[string]string{theirs: "", second: "true"} {
		r := h.request("GET", "/cheap", nil)
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Idempotency-Key", "k")
		if got := h.do(r); got.Header.Get("Idempotent-Replayed") != replayed {
			t.Errorf("replayed %q, want %q", got.Header.Get("Idempotent-Replayed"), replayed)
		}
	}
	h.wantCharges("0.01", "0.01")
}

func TestTheBodyOfARetryIsBounded(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.BodyLimit = 1000; c.ProxyTimeout = 150 * time.Millisecond })
	h.once("k", "POST", "/cheap", "body").want(t, 200, "")
	r := h.request("POST", "/cheap", io.LimitReader(zeros{}, 5000))
	r.Header.Set("Idempotency-Key", "k")
	h.do(r).want(t, 413, "REQUEST_BODY_TOO_LARGE")
	_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nIdempotency-Key: k\r\nX-Api-Key: " + h.key + "\r\n\r\nbo")
	res, err := http.ReadResponse(in, nil)
	wantRefused(t, res, err, 408, "REQUEST_TIMEOUT")
	h.wantCharges("0.01")
}

// deadNode claims each key just before the gateway does, and dies.
type deadNode struct {
	*portstest.Bank
	event id.ID
}

func (d deadNode) Claim(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	theirs := c
	theirs.Event, theirs.Lease = d.event, 0
	if _, err := d.Bank.Claim(ctx, theirs); err != nil {
		return ports.IdempotencyState{}, err
	}
	return d.Bank.Claim(ctx, c)
}

func TestAClaimOfADeadNodeIsTakenOverUnderItsEvent(t *testing.T) {
	t.Parallel()
	dead := newID() // perhaps it had charged: under the same id the journal can tell
	h := open(t, echo, func(_ *Config, d *Deps) { d.Idempotency = deadNode{d.Idempotency.(*ledger).Bank, dead} })
	if got := h.once("k", "GET", "/cheap", ""); got.StatusCode != 200 || got.Header.Get("X-Request-Id") != dead.String() {
		t.Errorf("%d as %s, want %s", got.StatusCode, got.Header.Get("X-Request-Id"), dead)
	}
	h.wantCharges("0.01")
	if e := h.ledger.charged()[0]; e.ID != dead {
		t.Errorf("charged as %s", e.ID)
	}
}
