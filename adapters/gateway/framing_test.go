package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestHTTP10GetsNoInterimAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "fine")
	})
	for _, method := range []string{"GET", "POST"} {
		_, in := h.raw(method + " /v1/call/weather/cheap HTTP/1.0\r\nX-Api-Key: " + h.key + "\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || string(body) != "fine" {
			t.Errorf("%s: %d %q, %v", method, res.StatusCode, body, err)
		}
	}
	h.wantCharges("0.01", "0.01")
}

// What is no HTTP answer is 502 on every way out, and not charged.
func TestAnAnswerThatIsNoneIs502(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"a status below 100":          "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
		"status 0":                    "HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
		"a negative status":           "HTTP/1.1 -12 None\r\nContent-Length: 0\r\n\r\n",
		"a status of four digits":     "HTTP/1.1 2000 Many\r\nContent-Length: 0\r\n\r\n",
		"two lengths":                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a length below zero":         "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"an endless length":           "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"an unknown coding":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"less than it said":           "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"no HTTP":                     "220 smtp.example ready\r\n\r\n",
		"a switch after another 1xx ": "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			serve := func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
			for _, secure := range []bool{false, true} {
				h := open(t, serve)
				if secure {
					h.overTLS(serve)
				}
				h.get("/cheap").want(t, 502, "BAD_GATEWAY")
				h.do(h.request("POST", "/cheap", strings.NewReader("body"))).want(t, 502, "BAD_GATEWAY")
				h.wantCharges()
			}
		})
	}
}
