package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/gateway/upstream"
	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// collect reads the whole request, then answers.
func collect(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		_, _ = io.WriteString(w, "collected")
	}
}

func wantRefused(t *testing.T, res *http.Response, err error, status int, code string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("body: %v", err)
	}
	reply{Response: res, body: body}.want(t, status, code)
	var e httpkit.Envelope
	if err := json.Unmarshal(body, &e); err != nil || e.Message == "" {
		t.Errorf("%s, %v", body, err)
	}
}

// wantEnd checks that connections end soon, without another answer.
func wantEnd(t *testing.T, answered []*bufio.Reader) {
	t.Helper()
	start := time.Now()
	for _, in := range answered {
		if _, err := in.Peek(1); err == nil {
			rest, _ := in.Peek(in.Buffered())
			t.Fatalf("then came %q", rest)
		}
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the connections ended after %s", took)
	}
}

func TestAMalformedBodyIs400AndEndsTheConnection(t *testing.T) {
	t.Parallel()
	h := open(t, collect)
	var answered []*bufio.Reader
	for name, body := range map[string]string{
		"no chunk length":    "ZZ\r\n",
		"an endless length":  "fffffffffffffffff\r\n",
		"a long extension":   "1;" + strings.Repeat("x", 20_000) + "\r\nx\r\n0\r\n\r\n",
		"no end of a chunk":  "1\r\nxx\r\n",
		"a line with LF":     "1\nx\n",
		"no trailer at all":  "0\r\nno trailer\r\n\r\n",
		"too long a trailer": "0\r\nX: " + strings.Repeat("x", 20_000) + "\r\n\r\n",
	} {
		for _, method := range []string{"GET", "POST"} {
			_, in := h.raw(method + " /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nTransfer-Encoding: chunked\r\n\r\n" + body +
				"GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			t.Log(name)
			wantRefused(t, res, err, 400, "MALFORMED_BODY")
			answered = append(answered, in)
		}
	}
	wantEnd(t, answered) // what follows is not a request
	h.wantCharges()
}

// An upstream that takes the end of a broken body for the end of the request is not paid for its answer to half of it.
func TestAnAnswerToABrokenRequestIsNotCharged(t *testing.T) {
	t.Parallel()
	for size, text := range map[string]string{"small": "fine", "large": strings.Repeat("x", 2*wholeMost), "small and slow": "slow"} {
		for status, body := range map[int]string{400: "ZZ\r\n", 408: ""} {
			h := open(t, nil, within(300*time.Millisecond), func(c *Config, _ *Deps) {
				c.Engine = roundTrip(func(r *http.Request) (*http.Response, error) {
					answer := io.MultiReader(&drain{r.Body}, strings.NewReader(text))
					if text != "slow" {
						_, _ = answer.Read(nil)
					}
					return &http.Response{StatusCode: 200, Request: r, Header: http.Header{}, ContentLength: int64(len(text)), Body: io.NopCloser(answer)}, nil
				})
			})
			t.Run(fmt.Sprint(size, "/", status), func(t *testing.T) {
				t.Parallel()
				_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + body)
				res, err := http.ReadResponse(in, nil)
				wantRefused(t, res, err, status, map[int]string{400: "MALFORMED_BODY", 408: "REQUEST_TIMEOUT"}[status])
				h.wantCharges()
			})
		}
	}
}

// drain has nothing, and has it when its reader has ended.
type drain struct{ io.Reader }

func (d *drain) Read([]byte) (int, error) {
	_, _ = io.Copy(io.Discard, d.Reader)
	return 0, io.EOF
}

// A refusal waits for no body, and a caller who sends none keeps no connection.
func TestARefusalIsSentAtOnceWithoutTheBody(t *testing.T) {
	t.Parallel()
	h := open(t, collect, func(c *Config, _ *Deps) { c.RatePerMinute = 1 })
	poor := open(t, collect)
	poor.ledger.Fund(poor.owner, money.Amount{})
	var answered []*bufio.Reader
	for _, body := range []string{"Content-Length: 100\r\n\r\n", "Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n", "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"} {
		for name, tt := range map[string]struct {
			h         *fixture
			path, key string
			status    int
			code      string
		}{
			"no key":      {h, "/v1/call/weather/cheap", "", 401, "UNAUTHORIZED"},
			"a wrong key": {h, "/v1/call/weather/cheap", h.key[:len(h.key)-4] + "0000", 401, "UNAUTHORIZED"},
			"no API":      {h, "/v1/call/nothing/cheap", h.key, 404, "NOT_FOUND"},
			"a bad path":  {h, "/v1/call/weather/a;b", h.key, 400, "INVALID_PATH"},
			"a legacy id": {h, "/api/gateway/", h.key, 400, "VALIDATION_ERROR"},
			"no money":    {poor, "/v1/call/weather/cheap", poor.key, 402, "PAYMENT_REQUIRED"},
		} {
			start := time.Now()
			_, in := tt.h.raw("POST " + tt.path + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + tt.key + "\r\n" + body)
			res, err := http.ReadResponse(in, nil)
			t.Log(name, body)
			wantRefused(t, res, err, tt.status, tt.code)
			if took := time.Since(start); took > time.Second {
				t.Errorf("answered after %s", took)
			}
			answered = append(answered, in)
		}
	}
	wantEnd(t, answered)
	h.get("/cheap").want(t, 200, "")
	_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nX-Api-Key: " + h.key + "\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	wantRefused(t, res, err, 429, "TOO_MANY_REQUESTS")
}

// What has come as a whole is sent on the caller's goroutine; what may be one side of a conversation streams through the standard transport.
func TestABodyThatHasComeGoesOurOwnWay(t *testing.T) {
	t.Parallel()
	h := open(t, collect)
	streamed := errors.New("streamed")
	h.gw.cfg.Engine.(*upstream.Transport).Other.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, streamed }
	for body, ours := range map[string]bool{
		"Content-Length: 4\r\n\r\nbody":                         true,
		"Content-Length: 0\r\n\r\n":                             true,
		"Content-Length: 8\r\n\r\nhalf":                         false,
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":           false,
		"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody": false,
	} {
		_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Api-Key: " + h.key + "\r\n" + body)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 200, false: 502}[ours]; res.StatusCode != want {
			t.Errorf("%q: %d, want %d", body, res.StatusCode, want)
		}
	}
	h.wantCharges("0.01", "0.01")
}

// drips sends a body of n bytes, pieces of it at a pace, and returns what is answered.
func (h *fixture) drips(n, piece int, pace time.Duration) (*http.Response, error) {
	h.t.Helper()
	r := h.request("POST", "/cheap", &slowBody{h: h, left: n, piece: piece, pace: pace})
	r.ContentLength = int64(n)
	return client.RoundTrip(r)
}

type slowBody struct {
	h           *fixture
	left, piece int
	pace        time.Duration
}

func (d *slowBody) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	wait(d.h.t.Context(), d.pace)
	n := min(len(p), d.piece, d.left)
	d.left -= n
	return n, nil
}

func TestABodyThatDripsIsCut(t *testing.T) {
	t.Parallel()
	h := open(t, collect, within(time.Second))
	start := time.Now()
	res, err := h.drips(1000, 1, 50*time.Millisecond)
	wantRefused(t, res, err, 408, "REQUEST_TIMEOUT")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("cut after %s", took)
	}
	h.wantCharges()
}

// A caller who lets the upstream wait is told so, whatever comes afterwards is no request, and nothing is charged.
func TestABodyThatStallsBeforeTheAnswerIs408AndEndsTheConnection(t *testing.T) {
	t.Parallel()
	half := func(w http.ResponseWriter, r *http.Request) { // of a small answer, which nobody sees before it is whole
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Length", "8")
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
	}
	for name, serve := range map[string]http.HandlerFunc{"no answer": collect, "half a small answer": half} {
		h := open(t, serve, within(300*time.Millisecond))
		secure := open(t, serve, within(300*time.Millisecond))
		secure.overTLS(serve)
		for _, h := range []*fixture{h, secure} {
			for _, body := range []string{
				"Content-Length: 100\r\n\r\n", "Content-Length: 100\r\n\r\nhalf", "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
				"Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nff\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ",
				"Idempotency-Key: one\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
			} {
				if strings.HasPrefix(body, "Expect") && name != "no answer" {
					continue // whose upstream does not ask for the body
				}
				t.Run(name+"/"+body, func(t *testing.T) {
					t.Parallel()
					conn, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n" + body)
					if strings.HasPrefix(body, "Expect") {
						if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 100 {
							t.Fatalf("%v, %v", res, err)
						}
					}
					res, err := http.ReadResponse(in, nil)
					wantRefused(t, res, err, 408, "REQUEST_TIMEOUT")
					if !res.Close {
						t.Error("the connection is not said to end")
					}
					sends("\r\n0\r\n\r\nGET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n\r\n")(conn)
					wantEnd(t, []*bufio.Reader{in})
					h.wantCharges()
				})
			}
		}
	}
}

func TestALongUploadThatMovesLives(t *testing.T) {
	t.Parallel()
	h := open(t, collect, within(time.Second))
	res, err := h.drips(60_000, 2000, 50*time.Millisecond) // 1.5 s
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
	h.wantCharges("0.01")
}

// Once an answer has begun, a request may send its parts as slowly as a conversation goes.
func TestTheRestOfABodyMayDripOnceTheAnswerHasBegun(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.(http.Flusher).Flush()
		_, _ = io.Copy(w, r.Body)
	}, within(time.Second))
	conn, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nContent-Length: 30\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		wait(t.Context(), 50*time.Millisecond)
		sends("x")(conn)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != strings.Repeat("x", 30) {
		t.Errorf("%q, %v", body, err)
	}
	h.wantCharges("0.01")
}
