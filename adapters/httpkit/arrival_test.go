package httpkit

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// sees waits, with the body unread, until it has come.
func sees(r *http.Request) bool {
	tick, end := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for !BodyHasCome(r) {
		select {
		case <-tick.C:
		case <-end:
			return false
		}
	}
	return true
}

func TestABodyHasComeWhenAllOfItHas(t *testing.T) {
	t.Parallel()
	first, more := make(chan bool), make(chan bool)
	address, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		first <- BodyHasCome(r)
		more <- sees(r)
		if n, err := io.Copy(io.Discard, r.Body); n != r.ContentLength || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	c, in := sendRaw(t, address, "")
	for _, size := range []int{3, 3000, 60 << 10} { // in one piece with the header, or not; calls on one connection
		body := strings.Repeat("a\r\n\r\nb", size)[:size]
		for _, now := range []int{0, 1, size - 1} {
			if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, body[:now]); err != nil {
				t.Fatal(err)
			}
			if <-first {
				t.Errorf("%d bytes of %d are all", now, size)
			}
			if _, err := io.WriteString(c, body[now:]); err != nil {
				t.Fatal(err)
			}
			if !<-more {
				t.Errorf("%d bytes of %d have not come", size, size)
			}
			if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusNoContent {
				t.Fatalf("%v, %v", res, err)
			}
		}
	}
}

// What is not known has not come.
func TestABodyOfWhichNothingIsKnownHasNotCome(t *testing.T) {
	t.Parallel()
	var got []bool
	h := func(w http.ResponseWriter, r *http.Request) {
		got = append(got, BodyHasCome(r))
		_, _ = io.Copy(io.Discard, r.Body)
	}
	address, _ := serve(t, h)
	plain := httptest.NewServer(http.HandlerFunc(h))
	defer plain.Close()
	const body = "Content-Length: 3\r\n\r\nabc"
	for _, tt := range []struct {
		name, address, request string
		answers                int
		want                   bool
	}{
		{"whole", address, "POST / HTTP/1.1\r\nHost: a\r\n" + body, 1, true},
		{"chunked", address, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1, false},
		{"none", address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, false},
		{"pipelined", address, "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\n" + body, 2, false},
		{"another server's", plain.Listener.Addr().String(), "POST / HTTP/1.1\r\nHost: a\r\n" + body, 1, false},
	} {
		got = nil
		_, in := sendRaw(t, tt.address, tt.request)
		for range tt.answers {
			if _, err := http.ReadResponse(in, nil); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		if last := got[len(got)-1]; last != tt.want {
			t.Errorf("%s: %v", tt.name, last)
		}
	}
}
