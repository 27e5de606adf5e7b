package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestFailingUpstreamsAreNotCharged(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/500":
			w.WriteHeader(500)
			fmt.Fprint(w, "theirs")
		case "/base/404":
			w.WriteHeader(404)
			_, _ = w.Write(make([]byte, 100_000))
		case "/base/cut":
			panic(http.ErrAbortHandler)
		case "/base/short": // promises more than it sends
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
		}
	})
	if got := h.get("/500"); got.StatusCode != 500 || string(got.body) != "theirs" || got.Header.Get("X-Callora-Charge") != zeroCharge {
		t.Errorf("%d %s %v", got.StatusCode, got.body, got.Header)
	}
	if got := h.get("/404"); got.StatusCode != 404 || len(got.body) != 100_000 {
		t.Errorf("%d, %d bytes", got.StatusCode, len(got.body))
	}
	h.get("/cut").want(t, 502, "BAD_GATEWAY")
	h.get("/short").want(t, 502, "BAD_GATEWAY")
	h.upstream.Close()
	got := h.get("/cheap")
	got.want(t, 502, "BAD_GATEWAY")
	if !bytes.Contains(got.body, []byte("Bad Gateway: upstream unreachable")) || bytes.Contains(got.body, []byte("127.0.0.1")) {
		t.Errorf("%s", got.body)
	}
	h.wantCharges()
}

func TestASlowUpstreamIs504AndNotCharged(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	h := open(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}, within(50*time.Millisecond))
	defer close(done)
	got := h.get("/cheap")
	got.want(t, 504, "GATEWAY_TIMEOUT")
	if !bytes.Contains(got.body, []byte("Upstream service timed out")) {
		t.Errorf("%s", got.body)
	}
	h.wantCharges()
}

func TestAStreamThatBreaksIsCutAndNotCharged(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(http.ResponseWriter, *http.Request){
		"the upstream breaks": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"the upstream stalls": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		for length, value := range map[string]string{"known": "100000", "unknown": ""} {
			t.Run(name+" in an answer of "+length+" length", func(t *testing.T) {
				t.Parallel()
				h := open(t, func(w http.ResponseWriter, r *http.Request) {
					if value != "" {
						w.Header().Set("Content-Length", value)
					}
					_, _ = w.Write(make([]byte, 50_000))
					w.(http.Flusher).Flush()
					end(w, r)
				}, within(200*time.Millisecond))
				if got := h.get("/cheap"); got.err == nil {
					t.Error("the answer seems complete")
				}
				h.wantCharges()
			})
		}
	}
}

func TestALongAnswerThatMovesLives(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"a stream": "", "a small answer": "13"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, func(w http.ResponseWriter, r *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				for range 13 {
					fmt.Fprint(w, ".")
					w.(http.Flusher).Flush()
					wait(r.Context(), 100*time.Millisecond)
				}
			}, within(time.Second))
			if got := h.get("/cheap"); got.err != nil || string(got.body) != "............." {
				t.Errorf("%q, %v", got.body, got.err)
			}
			h.wantCharges("0.01")
		})
	}
}

// A caller who hangs up pays for an answer that had begun, and for nothing before.
func TestACallerWhoLeaves(t *testing.T) {
	t.Parallel()
	arrived, sent := make(chan struct{}, 1), make(chan struct{}, 1)
	serve := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		if strings.HasSuffix(r.URL.Path, "/items/late") {
			<-r.Context().Done()
			return
		}
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 10_000))
			w.(http.Flusher).Flush()
			select {
			case sent <- struct{}{}:
			default:
			}
			wait(r.Context(), time.Millisecond)
		}
	}
	t.Run("before the answer is not charged", func(t *testing.T) {
		h := open(t, serve)
		conn, _ := h.raw("GET /v1/call/weather/items/late HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n\r\n")
		<-arrived
		if n := h.ledger.outstanding(); n != 1 {
			t.Errorf("%d holds while the call runs", n)
		}
		_ = conn.Close()
		h.wantCharges()
		eventually(t, "the call is logged as left", func() bool {
			return h.logs.FilterField(statusField(statusClientGone)).Len() == 1
		})
	})
	t.Run("in the middle of the answer is charged", func(t *testing.T) {
		h := open(t, serve)
		conn, in := h.raw("GET /v1/call/weather/items/stream HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n\r\n")
		<-arrived
		<-sent
		if _, err := in.ReadByte(); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		eventually(t, "it is charged", func() bool { return len(h.ledger.charged()) == 1 })
		h.wantCharges("0.02")
	})
	t.Run("in the middle of the request is not charged", func(t *testing.T) {
		h := open(t, serve)
		conn, _ := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nContent-Length: 1000\r\n\r\nhalf")
		eventually(t, "the call holds money", func() bool { return h.ledger.outstanding() == 1 })
		_ = conn.Close()
		h.wantCharges()
	})
}

// At whatever byte a caller hangs up, nothing stays held.
func TestACallerMayLeaveAtAnyByte(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 5 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 40))
			w.(http.Flusher).Flush()
		}
	})
	request := "POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
	for cut := 1; cut < len(request); cut += 7 {
		conn, _ := h.raw(request[:cut])
		_ = conn.Close()
	}
	for cut := 0; cut < 700; cut += 13 {
		conn, in := h.raw(request)
		_, _ = io.CopyN(io.Discard, in, int64(cut))
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset, no FIN
		_ = conn.Close()
	}
	eventually(t, "nothing is held", func() bool { return h.ledger.outstanding() == 0 })
}

func TestACallerWhoDoesNotReadIsCut(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}, within(300*time.Millisecond))
	h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n\r\n")
	eventually(t, "the call has ended", func() bool { return len(h.ledger.charged()) == 1 }) // it was served what it took
	h.wantCharges("0.01")
}

func TestACallerWhoSendsTooSlowlyIsCut(t *testing.T) {
	t.Parallel()
	h := open(t, echo, within(150*time.Millisecond))
	_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nContent-Length: 1000\r\n\r\nhalf")
	res, err := http.ReadResponse(in, nil)
	wantRefused(t, res, err, 408, "REQUEST_TIMEOUT")
	h.wantCharges()
}

func TestAPanicIs500AndReleases(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(c *Config, _ *Deps) {
		c.Engine = roundTrip(func(*http.Request) (*http.Response, error) { panic("a bug with a secret") })
	})
	got := h.get("/cheap")
	got.want(t, 500, "INTERNAL_SERVER_ERROR")
	if bytes.Contains(got.body, []byte("secret")) {
		t.Errorf("%s", got.body)
	}
	h.wantCharges()
	if h.logs.FilterMessage("panic").Len() != 1 {
		t.Error("the panic is not in the log")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever error the engine gives, the answer is one of ours and the money is free again.
func TestEveryErrorOfTheEngineReleases(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"a time-out":          {&net.OpError{Op: "dial", Err: timeoutError{}}, 504, "GATEWAY_TIMEOUT"},
		"a refused dial":      {errors.New("connection refused"), 502, "BAD_GATEWAY"},
		"a failed charge":     {usage.ErrNotRecorded, 503, "METERING_UNAVAILABLE"},
		"a body over a limit": {&http.MaxBytesError{Limit: 1}, 413, "REQUEST_BODY_TOO_LARGE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, echo, func(c *Config, _ *Deps) {
				c.Engine = roundTrip(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("engine: %w", tt.err) })
			})
			h.get("/cheap").want(t, tt.status, tt.code)
			h.wantCharges()
		})
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "too slow" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestTheLogNamesTheCallAndNoSecret(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	r := h.request("POST", "/cheap?token=in-the-query", strings.NewReader("in-the-body"))
	r.Header.Set("Authorization", "Bearer for-the-upstream")
	got := h.do(r)
	eventually(t, "the line is written", func() bool { return h.logs.FilterMessage("call").Len() == 1 })
	line := h.logs.FilterMessage("call").All()[0].ContextMap()
	for key, want := range map[string]any{
		"requestId": got.Header.Get("X-Request-Id"), "method": "POST", "statusCode": int64(200), "api": "weather", "endpoint": "* /cheap",
		"charge": "0.0100000", "keyPrefix": h.key[:16], "clientIp": "127.0.0.1",
	} {
		if line[key] != want {
			t.Errorf("%s: %v, want %v", key, line[key], want)
		}
	}
	text := fmt.Sprint(line)
	for _, secret := range []string{h.key, "in-the-query", "in-the-body", "for-the-upstream"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q: %s", secret, text)
		}
	}
}
