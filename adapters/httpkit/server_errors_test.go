package httpkit

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

var requestID = id.MustParse("01980000-0000-7000-8000-000000000001")

// serve is a server that gives the envelope to its own refusals, and what they were.
func serve(t *testing.T, h http.HandlerFunc) (address string, refused func() []int) {
	t.Helper()
	var mu sync.Mutex
	var statuses []int
	s := httptest.NewUnstartedServer(h)
	s.Config.MaxHeaderBytes = 4 << 10
	s.Config.ConnContext, s.Config.ConnState = ConnContext, ConnState
	s.Config.Handler = Framing(s.Config.Handler)
	s.Listener = Listen(s.Listener, func() id.ID { return requestID }, func(status int) {
		mu.Lock()
		defer mu.Unlock()
		statuses = append(statuses, status)
	})
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(statuses)
	}
}

func sendRaw(t *testing.T, address, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func TestWhatTheServerRefusesItselfHasTheEnvelope(t *testing.T) {
	t.Parallel()
	address, refused := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s reached the handler", r.URL) })
	var want []int
	for _, tt := range []struct {
		name, request string
		status        int
		code          string
		says          string
	}{
		{"no HTTP at all", "NONSENSE\r\n\r\n", 400, "MALFORMED_REQUEST", ""},
		{"another protocol", "\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "MALFORMED_REQUEST", ""},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, "MALFORMED_REQUEST", "missing required Host header"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "MALFORMED_REQUEST", ""},
		{"a field without a name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, "MALFORMED_REQUEST", ""},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "MALFORMED_REQUEST", ""},
		{"a length below zero", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "MALFORMED_REQUEST", ""},
		{"a header that is too large", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "REQUEST_HEADER_TOO_LARGE", ""},
		{"a coding that nobody knows", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "UNSUPPORTED_TRANSFER_ENCODING", ""},
		{"a version of tomorrow", "GET / HTTP/4.0\r\nHost: a\r\n\r\n", 505, "HTTP_VERSION_NOT_SUPPORTED", ""},
		{"an expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417, "EXPECTATION_FAILED", ""},
	} {
		_, in := sendRaw(t, address, tt.request)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var e Envelope
		body, err := io.ReadAll(res.Body)
		if jerr := json.Unmarshal(body, &e); err != nil || jerr != nil {
			t.Errorf("%s: %q, %v, %v", tt.name, body, err, jerr)
		}
		if res.StatusCode != tt.status || e.Code != tt.code || e.Message == "" || !strings.Contains(e.Message, tt.says) ||
			e.RequestID != requestID.String() || res.Header.Get("X-Request-Id") != e.RequestID || !res.Close {
			t.Errorf("%s: %d %v %+v", tt.name, res.StatusCode, res.Header, e)
		}
		if more, err := io.ReadAll(in); err != nil || len(more) > 0 {
			t.Errorf("%s: then %q, %v", tt.name, more, err)
		}
		want = append(want, tt.status)
	}
	if got := refused(); !slices.Equal(got, want) {
		t.Errorf("heard of %v, want %v", got, want)
	}
}

// What a handler answers is its own, however much it looks like a refusal of the server's.
func TestWhatAHandlerAnswersPassesAsItIs(t *testing.T) {
	t.Parallel()
	address, refused := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "r1")
		w.Header().Set("Connection", "close")
		if r.URL.Path == "/expect" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		http.Error(w, "400 Bad Request", http.StatusBadRequest)
	})
	for path, want := range map[string]string{"/": "400 Bad Request\n", "/expect": ""} {
		_, in := sendRaw(t, address, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != want || res.Header.Get("X-Request-Id") != "r1" {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
	if got := refused(); len(got) != 0 {
		t.Errorf("heard of %v", got)
	}
}

// A refusal arrives although the caller has sent more than was read: the connection is not reset over it.
func TestARefusalIsNotLostOverUnreadBytes(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	for range 20 {
		_, in := sendRaw(t, address, "NONSENSE\r\n\r\n"+strings.Repeat("x", 100<<10))
		if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusBadRequest {
			t.Fatalf("%v, %v", res, err)
		}
	}
}
