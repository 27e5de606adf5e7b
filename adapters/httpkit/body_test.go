package httpkit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// refusing answers 401 and looks at no body.
func refusing(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		AnswerFirst(w)
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(401)
		_, _ = io.WriteString(w, "no")
		EndBody(w, r.Body)
	}))
	t.Cleanup(s.Close)
	return s
}

func send(t *testing.T, s *httptest.Server, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func TestARefusalWaitsForNoBodyAndTheConnectionEndsSoon(t *testing.T) {
	t.Parallel()
	s := refusing(t)
	for name, request := range map[string]string{
		"a length":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"a part":          "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
		"a large length":  "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n",
		"chunks":          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"half a chunk":    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"a broken chunk":  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"no continuation": "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
		"HTTP/1.0":        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, in := send(t, s, request)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 401 {
				t.Fatalf("%v, %v", res, err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != "no" || time.Since(start) > lingerTime/2 {
				t.Errorf("%q, %v after %s", body, err, time.Since(start))
			}
			if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("then came %q, %v", rest, err)
			}
			if took := time.Since(start); took > 4*lingerTime {
				t.Errorf("the connection ended after %s", took)
			}
		})
	}
}

func TestARefusalOfAWholeBodyKeepsTheConnection(t *testing.T) {
	t.Parallel()
	s := refusing(t)
	for name, body := range map[string]string{
		"a length": "Content-Length: 50000\r\n\r\n" + strings.Repeat("x", 50_000),
		"chunks":   "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		conn, in := send(t, s, "")
		for range 3 {
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s", body)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.Close {
				t.Errorf("%s: %v, close %v", name, err, res.Close)
			}
		}
	}
}

// A handler that aborts its answer while another goroutine reads the body ends at once.
func TestADroppedBodyHoldsNoConnection(t *testing.T) {
	t.Parallel()
	reading := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		AnswerFirst(w)
		go func() { close(reading); _, _ = r.Body.Read(make([]byte, 1)) }()
		<-reading
		DropBody(w, r.Body)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(s.Close)
	start := time.Now()
	_, in := send(t, s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	if rest, err := io.ReadAll(in); len(rest) > 0 || time.Since(start) > lingerTime {
		t.Errorf("%q, %v after %s", rest, err, time.Since(start))
	}
}
