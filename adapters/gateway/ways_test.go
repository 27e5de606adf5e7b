package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// overTLS moves the fixture's upstream behind TLS.
func (h *fixture) overTLS(serve http.HandlerFunc) { h.t.Helper(); h.moveTo(serve, false) }

func (h *fixture) moveTo(serve http.HandlerFunc, http2 bool) {
	h.t.Helper()
	secure := httptest.NewUnstartedServer(serve)
	secure.EnableHTTP2 = http2
	secure.StartTLS()
	h.t.Cleanup(secure.Close)
	h.api.BaseURL = secure.URL
	h.store.setAPI(h.api)
	h.tell(change(h.api.ID))
	engine := newEngine(newGuard(h.t, "127.0.0.1"), 0)
	h.t.Cleanup(engine.CloseIdleConnections)
	engine.Other.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	h.gw.proxy.Transport = engine
}

// onEveryWay runs a test with the upstream behind HTTP/1.1, TLS and HTTP/2.
func onEveryWay(t *testing.T, serve http.HandlerFunc, test func(t *testing.T, h *fixture), options ...option) {
	t.Helper()
	for _, way := range []string{"plain", "TLS", "HTTP/2"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			h := open(t, serve, options...)
			if way != "plain" {
				h.moveTo(serve, way == "HTTP/2")
			}
			test(t, h)
		})
	}
}

// bodies are requests with bodies: one that has come with its header, larger ones, one in chunks, and none.
func (h *fixture) bodies() (all []*http.Request) {
	for _, size := range []int{0, 10, 30_000, 100_000} {
		all = append(all, h.request("POST", "/cheap", strings.NewReader(strings.Repeat("b", size))))
	}
	inChunks := h.request("POST", "/cheap", io.MultiReader(strings.NewReader("chunks")))
	inChunks.ContentLength = -1
	return append(all, inChunks, h.request("GET", "/cheap", nil))
}

func TestEveryWayToAnUpstreamIsCharged(t *testing.T) {
	t.Parallel()
	onEveryWay(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Method, " ", n, " ", err)
		w.Header().Set("X-Sum", "7")
	}, func(t *testing.T, h *fixture) {
		var charges []string
		for _, r := range h.bodies() {
			size := max(r.ContentLength, 0)
			if r.ContentLength < 0 {
				size = 6
			}
			got := h.do(r)
			got.want(t, 200, "")
			if want := fmt.Sprint(r.Method, " ", size, " <nil>"); string(got.body) != want || got.Trailer.Get("X-Sum") != "7" {
				t.Errorf("%q, trailer %v; want %q", got.body, got.Trailer, want)
			}
			charges = append(charges, "0.01")
		}
		h.wantCharges(charges...)
	})
}

// Whatever the way, what an upstream breaks off, refuses or does not answer in time is free.
func TestNoWayToAnUpstreamIsChargedForWhatFails(t *testing.T) {
	t.Parallel()
	serve := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Query().Get("how") {
		case "refuses":
			w.WriteHeader(500)
		case "is silent":
			<-r.Context().Done()
		case "hangs up":
			panic(http.ErrAbortHandler)
		case "breaks off": // a small answer, which nobody sees before it is whole
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "breaks a stream":
			_, _ = w.Write(make([]byte, 50_000))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "stalls in a stream":
			_, _ = w.Write(make([]byte, 50_000))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}
	onEveryWay(t, serve, func(t *testing.T, h *fixture) {
		for how, status := range map[string]int{
			"refuses": 500, "is silent": 504, "hangs up": 502, "breaks off": 502, "breaks a stream": 200, "stalls in a stream": 200,
		} {
			var calls sync.WaitGroup
			for _, r := range h.bodies() {
				r.URL.RawQuery = "how=" + strings.ReplaceAll(how, " ", "+")
				calls.Go(func() {
					res, err := client.RoundTrip(r)
					if err != nil {
						t.Error(err)
						return
					}
					_, err = io.ReadAll(res.Body)
					_ = res.Body.Close()
					if res.StatusCode != status || status == 200 && err == nil {
						t.Errorf("an upstream that %s: %d after %d bytes, %v", how, res.StatusCode, r.ContentLength, err)
					}
				})
			}
			calls.Wait()
		}
		h.wantCharges()
	}, within(2*time.Second))
}

// An upstream may answer a request that is still on its way, and both may go on.
func TestEveryWayToAnUpstreamGoesBothWays(t *testing.T) {
	t.Parallel()
	onEveryWay(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 has it
		w.(http.Flusher).Flush()
		_, _ = io.Copy(flushing{w}, r.Body)
	}, func(t *testing.T, h *fixture) {
		for _, length := range []int64{6, -1} {
			questions, asks := io.Pipe()
			r := h.request("POST", "/cheap", questions)
			r.ContentLength = length
			res, err := client.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"one", "two"} {
				_, _ = io.WriteString(asks, text)
				heard := make([]byte, len(text))
				if _, err := io.ReadFull(res.Body, heard); err != nil || string(heard) != text {
					t.Errorf("%q, %v", heard, err)
				}
			}
			_ = asks.Close()
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			_ = res.Body.Close()
		}
		h.wantCharges("0.01", "0.01")
	})
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// A WebSocket is HTTP/1.1's, also where an upstream prefers HTTP/2.
func TestEveryWayToAnUpstreamUpgrades(t *testing.T) {
	t.Parallel()
	onEveryWay(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_ = ws.Write(t.Context(), websocket.MessageText, []byte("hello"))
		_, _, _ = ws.Read(t.Context())
	}, func(t *testing.T, h *fixture) {
		h.get("/cheap").want(t, 200, "")
		ws, _, err := websocket.Dial(t.Context(), h.front.URL+"/v1/call/weather/cheap", &websocket.DialOptions{HTTPHeader: http.Header{"X-Api-Key": {h.key}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := ws.Read(t.Context()); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
		h.wantCharges("0.01", "0.01")
	})
}
