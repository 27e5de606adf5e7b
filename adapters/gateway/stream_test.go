package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestLargeBodiesStreamBothWays(t *testing.T) {
	t.Parallel()
	const size = 24 << 20
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(w, r.Body) // it answers while it still reads
	}, func(c *Config, _ *Deps) { c.BodyLimit = size })
	r := h.request("POST", "/cheap", io.LimitReader(zeros{}, size))
	r.ContentLength = size
	res, err := client.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("%d bytes came back, %v", n, err)
	}
	h.wantCharges("0.01")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestABodyThatGrowsOverTheLimitIs413AndNotCharged(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) { c.BodyLimit = 1000 })
	h.do(h.request("POST", "/cheap", io.LimitReader(zeros{}, 5000))).want(t, 413, "REQUEST_BODY_TOO_LARGE")
	h.wantCharges()
}

func TestEventsArriveWhenTheyAreSent(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	res, err := client.RoundTrip(h.request("GET", "/cheap", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 3 {
		buf := make([]byte, 9)
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != fmt.Sprintf("data: %d\n\n", i) {
			t.Fatalf("event %d: %q, %v", i, buf, err)
		}
		if n := len(h.ledger.charged()); n != 0 {
			t.Errorf("charged before the end")
		}
		next <- struct{}{}
	}
	if _, err := res.Body.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("end: %v", err)
	}
	h.wantCharges("0.01")
}

func TestTheEndIsHeldBackUntilTheChargeIsSafe(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"known length": "100000", "unknown length": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = w.Write(make([]byte, 40_000))
				w.(http.Flusher).Flush()
				_, _ = w.Write(make([]byte, 60_000))
			})
			charging, safe := make(chan struct{}), make(chan struct{})
			h.ledger.set(func(l *ledger) { l.before = func() { close(charging); <-safe } })
			res, err := client.RoundTrip(h.request("GET", "/cheap", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			whole := make(chan error, 1)
			go func() {
				n, err := io.Copy(io.Discard, res.Body)
				if n != 100_000 {
					err = fmt.Errorf("%d bytes, %w", n, err)
				}
				whole <- err
			}()
			<-charging
			select {
			case err := <-whole:
				t.Errorf("the whole answer was delivered before the charge: %v", err)
			default:
			}
			close(safe)
			if err := <-whole; err != nil {
				t.Error(err)
			}
			h.wantCharges("0.01")
		})
	}
}

func TestWebSocketsPassAndAreChargedAtTheHandshake(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		for {
			kind, text, err := ws.Read(t.Context())
			if err != nil {
				return
			}
			_ = ws.Write(t.Context(), kind, append([]byte("echo "), text...))
		}
	})
	ws, res, err := websocket.Dial(t.Context(), h.front.URL+"/v1/call/weather/cheap", &websocket.DialOptions{HTTPHeader: http.Header{"X-Api-Key": {h.key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if res.Header.Get("X-Callora-Charge") != "0.0100000" {
		t.Errorf("headers %v", res.Header)
	}
	h.wantCharges("0.01")
	for _, text := range []string{"one", "two"} {
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := ws.Read(t.Context()); err != nil || string(got) != "echo "+text {
			t.Errorf("%q, %v", got, err)
		}
	}
	done := make(chan struct{})
	go func() { h.gw.Drain(cancelled(t)); close(done) }()
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("the connection outlived the drain")
	}
	<-done
}

func TestBrowsersGetOneCORSAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("X-RateLimit-Limit", "7")
	})
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://app.example")
		h.gw.ServeHTTP(w, r)
	}))
	defer outer.Close()
	if got := h.get("/cheap"); got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("X-RateLimit-Limit") != "7" {
		t.Errorf("alone: %v", got.Header)
	}
	r := h.request("GET", "/cheap", nil)
	r.URL.Host = strings.TrimPrefix(outer.URL, "http://")
	if got := h.do(r); !slices.Equal(got.Header.Values("Access-Control-Allow-Origin"), []string{"https://app.example"}) {
		t.Errorf("behind CORS: %v", got.Header)
	}
}
