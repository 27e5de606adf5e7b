package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// The answers of an upstream that begins one, and ends it only when the caller is gone.
var endlessAnswers = map[string]func(w http.ResponseWriter){
	"events": func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: last\n\n")
	},
	"chunks": func(w http.ResponseWriter) { _, _ = w.Write(bytes.Repeat([]byte("last\n"), 20_000)) },
	"a known length": func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(bytes.Repeat([]byte("last\n"), 20_000))
	},
}

func endless(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	endlessAnswers[r.URL.Query().Get("answer")](w)
	w.(http.Flusher).Flush()
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// waysToLeave are what a caller may do once it has what it wants. The request has a chunked body of which one chunk was sent.
var waysToLeave = map[string]func(conn net.Conn){
	"closes":                    func(conn net.Conn) { _ = conn.Close() },
	"resets":                    func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0); _ = conn.Close() },
	"closes its half":           func(conn net.Conn) { _ = conn.(*net.TCPConn).CloseWrite() },
	"stalls":                    func(net.Conn) {},
	"sends no chunk length":     sends("ZZ\r\n"),
	"sends an endless length":   sends("fffffffffffffffff\r\n"),
	"sends a negative length":   sends("-1\r\n"),
	"sends a long extension":    sends("1;" + strings.Repeat("x", 20_000) + "\r\n"),
	"sends many extensions":     sends(strings.Repeat("1;"+strings.Repeat("x", 2_000)+"\r\nx\r\n", 20)),
	"leaves out an end of line": sends("1\r\nxx\r\n"),
	"ends a line with LF":       sends("1\nx\n"),
	"sends a bad trailer":       sends("0\r\nno trailer\r\n\r\n"),
	"sends a long trailer":      sends("0\r\nX: " + strings.Repeat("x", 20_000) + "\r\n\r\n"),
	"closes in a trailer":       func(conn net.Conn) { sends("0\r\nX: ")(conn); _ = conn.Close() },
	"closes in a chunk":         func(conn net.Conn) { sends("ff\r\nhalf")(conn); _ = conn.Close() },
	"passes the limit":          sends("200000\r\n" + strings.Repeat("x", 2<<20) + "\r\n"),
}

func sends(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, text) } // it may be cut while it sends
}

// However a caller ends an answer that has begun, it is charged for it, once.
func TestEveryWayToLeaveAnAnswerIsChargedOnce(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			h := open(t, endless, within(1500*time.Millisecond))
			if scheme == "https" {
				h.overTLS(endless)
			}
			t.Run("", func(t *testing.T) {
				for answer := range endlessAnswers {
					for _, method := range []string{"GET", "POST"} {
						for way, leave := range waysToLeave {
							t.Run(answer+"/"+method+"/"+way, func(t *testing.T) {
								t.Parallel()
								conn, in := h.raw(method + " /v1/call/weather/cheap?answer=" + strings.ReplaceAll(answer, " ", "+") +
									" HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
								call := wantBegun(t, in)
								leave(conn)
								h.wantPaid(t, call)
							})
						}
					}
				}
			})
			if n, calls := len(h.ledger.charged()), 2*len(endlessAnswers)*len(waysToLeave); n != calls {
				t.Errorf("%d calls were charged %d times", calls, n)
			}
		})
	}
}

// wantPaid waits until a call has ended, and checks that it was charged.
func (h *fixture) wantPaid(t *testing.T, call string) {
	t.Helper()
	eventually(t, "the call ends", func() bool {
		return h.logs.FilterMessage("call").FilterField(zap.String("requestId", call)).Len() == 1
	})
	if !slices.ContainsFunc(h.ledger.charged(), func(e usage.Event) bool { return e.ID.String() == call }) {
		t.Fatal("the call has ended and was not charged")
	}
}

// wantBegun reads an answer up to its first "last", and returns the call's id.
func wantBegun(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("X-Callora-Charge") != "0.0100000" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	for seen := ""; !strings.Contains(seen, "last"); {
		buf := make([]byte, 16)
		n, err := res.Body.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", seen, err)
		}
		seen += string(buf[:n])
	}
	return res.Header.Get("X-Request-Id")
}

// The same for requests whose body does not come in chunks.
func TestEveryWayToLeaveWithoutChunksIsChargedOnce(t *testing.T) {
	t.Parallel()
	h := open(t, endless, within(2*time.Second))
	requests := map[string]string{
		"no body":              "GET %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n",
		"half a body":          "POST %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Length: 10\r\n\r\nhalf",
		"a body to wait for":   "POST %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
		"chunks to wait for":   "GET %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
		"a whole body":         "POST %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Length: 4\r\n\r\nbody",
		"whole chunks":         "POST %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a body, for HTTP/1.0": "POST %s HTTP/1.0\r\nX-Api-Key: %s\r\nContent-Length: 10\r\n\r\nhalf",
	}
	ways := []string{"closes", "resets", "closes its half"}
	t.Run("", func(t *testing.T) {
		for name, request := range requests {
			for _, way := range ways {
				t.Run(name+"/"+way, func(t *testing.T) {
					t.Parallel()
					conn, in := h.raw(fmt.Sprintf(request, "/v1/call/weather/cheap?answer=chunks", h.key))
					call := wantBegun(t, in)
					waysToLeave[way](conn)
					h.wantPaid(t, call)
				})
			}
		}
	})
	if n, calls := len(h.ledger.charged()), len(requests)*len(ways); n != calls {
		t.Errorf("%d calls were charged %d times", calls, n)
	}
}

// While the upstream waits for the caller its own clock stands: it is the caller who lets the call end, however long ago the
// last piece of the answer came.
func TestACallerWhomTheUpstreamWaitsForPaysForTheAnswerThatHasBegun(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			h := open(t, endless, within(time.Second))
			if scheme == "https" {
				h.overTLS(endless)
			}
			conn, in := h.raw("POST /v1/call/weather/cheap?answer=events HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key +
				"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
			call := wantBegun(t, in)
			wait(t.Context(), 500*time.Millisecond)
			sends("1\r\nx\r\n")(conn) // the body's time begins anew, the answer's would be over half a second earlier
			h.wantPaid(t, call)
			h.wantCharges("0.01")
		})
	}
}

// An upstream that breaks is not paid, also when the caller's body has an error, or is still owed, at the same time.
func TestAnUpstreamThatBreaksFirstIsNotPaid(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(conn net.Conn){
		"the caller waits":      func(net.Conn) {},
		"the caller breaks too": sends("ZZ\r\n"),
	} {
		for way, linger := range map[string]int{"a FIN": -1, "a RST": 0} {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				broken := make(chan struct{})
				h := open(t, func(w http.ResponseWriter, r *http.Request) {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlast\n\r\n")
					<-broken
					_ = conn.(*net.TCPConn).SetLinger(linger)
					_ = conn.Close()
				})
				conn, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key +
					"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
				wantBegun(t, in)
				close(broken)
				if rest, err := io.ReadAll(in); strings.HasSuffix(string(rest), "0\r\n\r\n") {
					t.Errorf("the answer seems complete: %q, %v", rest, err)
				}
				after(conn)
				h.wantCharges()
			})
		}
	}
}

// An upstream that falls silent when it has the whole request is not paid.
func TestAnUpstreamThatStallsWithTheWholeRequestIsNotPaid(t *testing.T) {
	t.Parallel()
	h := open(t, endless, within(time.Second))
	_, in := h.raw("POST /v1/call/weather/cheap?answer=events HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key +
		"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
	wantBegun(t, in)
	_, _ = io.ReadAll(in)
	h.wantCharges()
}
