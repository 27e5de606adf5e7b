package upstream

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// speaks is a server over TLS that counts its connections.
func speaks(t *testing.T, http2 bool, conns *atomic.Int32) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, r.ProtoMajor, " ", r.Method, " ", len(body))
		w.Header().Set("X-Sum", "7")
	}))
	s.EnableHTTP2 = http2
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// An upstream that prefers HTTP/2 is asked once; its calls are the standard transport's, with all of their bodies.
func TestAnUpstreamThatPrefersHTTP2(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	up := speaks(t, true, &conns)
	s := &server{Listener: up.Listener, base: up.URL}
	tr := newTransport(t)
	tr.Other.TLSClientConfig = up.Client().Transport.(*http.Transport).TLSClientConfig
	tr.Other.ForceAttemptHTTP2 = true
	for _, call := range []string{"POST 1000", "GET", "PUT 64000", "POST 70000", "DELETE"} {
		method, size, _ := strings.Cut(call, " ")
		if size == "" {
			size = "0"
		}
		res, body, err := s.call(t, tr, call)
		if err != nil || body != "2 "+method+" "+size {
			t.Fatalf("%s: %q, %v", call, body, err)
		}
		if res.Trailer.Get("X-Sum") != "7" || res.ContentLength != -1 || res.Header["Content-Length"] != nil { // which HTTP/1.1 can say
			t.Errorf("trailer %v, length %d, header %v", res.Trailer, res.ContentLength, res.Header)
		}
	}
	if n := conns.Load(); n != 2 { // the one that found out, and the one that serves
		t.Errorf("%d connections", n)
	}
	if tr.kept != 0 {
		t.Error("a connection of ours is kept")
	}
}

// Without HTTP/2 in the standard transport nobody offers it.
func TestHTTP2IsOfferedOnlyWhereItIsSpoken(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	up := speaks(t, true, &conns)
	s := &server{Listener: up.Listener, base: up.URL}
	tr := newTransport(t)
	tr.Other.TLSClientConfig = up.Client().Transport.(*http.Transport).TLSClientConfig
	for range 3 {
		if _, body, err := s.call(t, tr, "POST 10"); err != nil || body != "1 POST 10" {
			t.Errorf("%q, %v", body, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// An upstream that has changed its mind is ours again.
func TestAnUpstreamThatPrefersHTTP2NoLonger(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	up := speaks(t, false, &conns)
	s := &server{Listener: up.Listener, base: up.URL}
	tr := newTransport(t)
	tr.Other.TLSClientConfig = up.Client().Transport.(*http.Transport).TLSClientConfig
	tr.Other.ForceAttemptHTTP2 = true
	tr.http2.add(s.origin(), time.Now())
	for range 2 {
		if _, body, err := s.call(t, tr, "POST 10"); err != nil || body != "1 POST 10" {
			t.Errorf("%q, %v", body, err)
		}
	}
	if tr.kept != 1 {
		t.Error("the second call was not our own")
	}
}

func TestPreferencesAreFewAndForgotten(t *testing.T) {
	t.Parallel()
	var p preferences
	now := time.Now()
	for i := range 2 * mostPreferences {
		o := origin{address: fmt.Sprint(i)}
		if p.add(o, now); !p.has(o, now) || p.has(o, now.Add(preferredFor)) {
			t.Fatal("it is not known, or for ever")
		}
	}
	if n := len(p.until); n != mostPreferences {
		t.Errorf("%d are kept", n)
	}
	for o := range p.until {
		if p.remove(o); p.has(o, now) {
			t.Error("it is known although it was removed")
		}
	}
}
