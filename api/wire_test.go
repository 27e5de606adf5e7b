package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
)

// overTheWire serves a world on a real connection, and sends text there.
func (w *world) overTheWire(t *testing.T) (send func(text string) (net.Conn, *bufio.Reader)) {
	t.Helper()
	s := httptest.NewServer(w.handler)
	t.Cleanup(s.Close)
	return func(text string) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		return conn, bufio.NewReader(conn)
	}
}

const announced = " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"

func TestAnAnswerWaitsForNoBodyAndTheConnectionEndsSoon(t *testing.T) {
	t.Parallel()
	limiter := counting{map[string]int{}}
	w := newWorld(t, func(w *world) { w.cfg.RateLimit, w.cfg.RateWindow, w.deps.Limiter = 100, time.Minute, limiter })
	limited := newID()
	limiter.used["rest:user:"+limited.String()] = 100
	send := w.overTheWire(t)
	user := "Authorization: " + w.token(t, w.seller) + "\r\n"
	for name, tc := range map[string]struct {
		request string
		want    int
	}{
		"nobody":             {"POST /api/apis" + announced + "\r\n", 401},
		"a wrong token":      {"POST /api/apis" + announced + "Authorization: Bearer x\r\n\r\n", 401},
		"a part of the body": {"POST /api/apis" + announced + "\r\n{", 401},
		"chunks":             {"POST /api/apis HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 401},
		"HTTP/1.0":           {"POST /api/apis HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\n", 401},
		"too large":          {"POST /api/apis HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n" + user + "\r\n", 413},
		"too many":           {"POST /api/apis" + announced + "Authorization: " + w.token(t, limited) + "\r\n\r\n", 429},
		"no such path":       {"POST /api/nothing" + announced + "\r\n", 404},
		"no such method":     {"PATCH /api/apis" + announced + "\r\n", 405},
		"a preflight":        {"OPTIONS /api/apis" + announced + "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n\r\n", 204},
		"a GET":              {"GET /api/apis" + announced + "\r\n", 200},
	} {
		start := time.Now()
		_, in := send(tc.request)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		took := time.Since(start)
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != tc.want || took > time.Second/2 {
			t.Errorf("%s: %d %s, %v after %s; want %d at once", name, res.StatusCode, body, err, took, tc.want)
		}
		if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil && !strings.Contains(err.Error(), "reset") || time.Since(start) > 4*time.Second {
			t.Errorf("%s: the connection ended after %s with %q, %v", name, time.Since(start), rest, err)
		}
	}
}

func TestABodyThatDripsIsCutInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.BodyTime = 300 * time.Millisecond })
	send := w.overTheWire(t)
	for _, target := range []string{"POST /api/apis", "POST /api/keys/" + newID().String() + "/rotate"} {
		start := time.Now()
		conn, in := send(target + announced + "Authorization: " + w.token(t, w.seller) + "\r\n\r\n")
		stop := make(chan struct{})
		go func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = io.WriteString(conn, " ")
				case <-stop:
					return
				}
			}
		}()
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		close(stop)
		if took := time.Since(start); res.StatusCode != 408 || !strings.Contains(string(body), `"REQUEST_TIMEOUT"`) || took > 5*time.Second {
			t.Errorf("%s: %d %s after %s", target, res.StatusCode, body, took)
		}
	}
}

func TestAConnectionThatSendsItsBodiesIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.BodyTime = 2 * time.Second })
	conn, in := w.overTheWire(t)("")
	for range 3 {
		for _, request := range []string{
			fmt.Sprintf("POST /api/apis HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: %s\r\nContent-Length: 2\r\n\r\n{}", w.token(t, w.seller)),
			"POST /api/apis HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
			"GET /api/apis HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%q: %v", request, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.Close || res.StatusCode == 408 {
				t.Errorf("%q: %d, close %v, %v", request, res.StatusCode, res.Close, err)
			}
		}
	}
}

func TestConnectIs405OnTheWire(t *testing.T) {
	t.Parallel()
	send := newWorld(t).overTheWire(t)
	for _, target := range []string{"b.example:443", "127.0.0.1:80", "[::1]:443", "/api/apis"} {
		_, in := send("CONNECT " + target + " HTTP/1.1\r\nHost: b.example:443\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		var e httpkit.Envelope
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil || res.StatusCode != 405 || e.Code != "METHOD_NOT_ALLOWED" || e.RequestID != res.Header.Get("X-Request-Id") {
			t.Errorf("%s: %d %+v, %v", target, res.StatusCode, e, err)
		}
		if res.Header["Allow"] == nil {
			t.Errorf("%s: no Allow", target)
		}
	}
}
