package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstreamAnswers are the ways in which an upstream answers. Each reads the request first.
var upstreamAnswers = map[string]func(w http.ResponseWriter, size int){
	"whole": func(w http.ResponseWriter, size int) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(make([]byte, size))
	},
	"chunked": func(w http.ResponseWriter, size int) {
		for range 4 {
			_, _ = w.Write(make([]byte, size/4))
			w.(http.Flusher).Flush()
		}
	},
	"empty": func(w http.ResponseWriter, _ int) { w.WriteHeader(204) },
	"error": func(w http.ResponseWriter, size int) {
		w.WriteHeader(500)
		_, _ = w.Write(make([]byte, size))
	},
	"hang-up": func(http.ResponseWriter, int) { panic(http.ErrAbortHandler) },
	"short": func(w http.ResponseWriter, size int) {
		w.Header().Set("Content-Length", strconv.Itoa(size+1))
		_, _ = w.Write(make([]byte, size))
	},
	"break": func(w http.ResponseWriter, size int) {
		_, _ = w.Write(make([]byte, size))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
}

// Whatever upstream, caller and database do: who reads to the end has paid exactly when the answer is whole, and nothing
// stays held.
func TestWhoGetsAWholeAnswerPaysForItOnce(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		upstreamAnswers[r.URL.Query().Get("answer")](w, size)
	})
	var names []string
	for name := range upstreamAnswers {
		names = append(names, name)
	}
	h.ledger.set(func(l *ledger) { l.refuse = func() bool { return rand.N(5) == 0 } })
	type outcome struct {
		id, answer  string
		whole, left bool
	}
	var mu sync.Mutex
	var outcomes []outcome
	one := func() {
		answer := names[rand.N(len(names))]
		size := []int{0, 10, wholeMost, wholeMost + 1, 200_000}[rand.N(5)]
		var body io.Reader
		if rand.N(2) == 0 {
			body = strings.NewReader(strings.Repeat("b", rand.N(50_000)))
		}
		res, err := client.RoundTrip(h.request("POST", fmt.Sprintf("/cheap?answer=%s&size=%d", answer, size), body))
		if err != nil { // an answer that is cut before it was flushed; its charge would be one too many below
			if answer != "break" && answer != "chunked" {
				t.Errorf("%s: %v", answer, err)
			}
			return
		}
		o := outcome{id: res.Header.Get("X-Request-Id"), answer: answer}
		if o.left = rand.N(4) == 0; o.left {
			_, _ = io.CopyN(io.Discard, res.Body, rand.N(int64(size)+1))
		} else {
			_, err = io.Copy(io.Discard, res.Body)
			o.whole = err == nil && res.StatusCode/100 == 2
		}
		_ = res.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		outcomes = append(outcomes, o)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 60 {
				one()
			}
		})
	}
	callers.Wait()
	eventually(t, "nothing is held", func() bool { return h.ledger.outstanding() == 0 })
	paid := map[string]int{}
	for _, e := range h.ledger.charged() {
		paid[e.ID.String()]++
	}
	for _, o := range outcomes {
		if n := paid[o.id]; n > 1 || !o.left && (n == 1) != o.whole {
			t.Errorf("%+v paid %d times", o, n)
		}
		delete(paid, o.id)
	}
	if len(paid) != 0 {
		t.Errorf("charges for calls that nobody made: %v", paid)
	}
}

// A call costs the gateway no look-up: keys and routes are in memory. (That its money is too is the charger's promise.)
func TestACallAsksNoStore(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	looked, claims := h.store.lookUps(), h.ledger.asked("claim")
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 25 {
				h.get("/cheap").want(t, 200, "")
			}
		})
	}
	callers.Wait()
	if h.store.lookUps() != looked || h.ledger.asked("claim") != claims {
		t.Errorf("100 calls made %d look-ups and %d claims", h.store.lookUps()-looked, h.ledger.asked("claim")-claims)
	}
}

func TestADrainWithoutConnectionsIsOver(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	done := make(chan struct{})
	go func() { h.gw.Drain(t.Context()); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it waits for nothing")
	}
}
