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

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// moods are the ways of an upstream. Each reads the request first.
var moods = map[string]func(w http.ResponseWriter, size int){
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
		moods[r.URL.Query().Get("mood")](w, size)
	})
	var names []string
	for name := range moods {
		names = append(names, name)
	}
	h.charger.set(func(f *fakeCharger) {
		f.luck = func() error {
			if rand.N(5) == 0 {
				return usage.ErrNotRecorded
			}
			return nil
		}
	})
	type outcome struct {
		id, mood    string
		whole, left bool
	}
	var mu sync.Mutex
	var outcomes []outcome
	one := func() {
		mood := names[rand.N(len(names))]
		size := []int{0, 10, wholeMost, wholeMost + 1, 200_000}[rand.N(5)]
		var body io.Reader
		if rand.N(2) == 0 {
			body = strings.NewReader(strings.Repeat("b", rand.N(50_000)))
		}
		res, err := client.RoundTrip(h.request("POST", fmt.Sprintf("/cheap?mood=%s&size=%d", mood, size), body))
		if err != nil { // an answer that is cut before it was flushed; its charge would be one too many below
			if mood != "break" && mood != "chunked" {
				t.Errorf("%s: %v", mood, err)
			}
			return
		}
		o := outcome{id: res.Header.Get("X-Request-Id"), mood: mood}
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
	eventually(t, "nothing is held", func() bool { return h.charger.outstanding() == 0 })
	paid := map[string]int{}
	for _, e := range h.charger.charged() {
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
	looked, trips := h.store.lookUps(), h.bank.Trips()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 25 {
				h.get("/cheap").want(t, 200, "")
			}
		})
	}
	callers.Wait()
	if h.store.lookUps() != looked || h.bank.Trips() != trips {
		t.Errorf("100 calls made %d look-ups and %d trips", h.store.lookUps()-looked, h.bank.Trips()-trips)
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
