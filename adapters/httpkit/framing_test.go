package httpkit

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// After a request that two readers may end at different places comes no second one on its connection.
func TestARequestWithTwoEndsIsTheLastOfItsConnection(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "r1")
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte(r.URL.Path+" "), body...))
	})
	const chunks, second = "3\r\nabc\r\n0\r\n\r\n", "GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		body          string
		last          bool
	}{
		{"chunked alone", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, "/ abc", false},
		{"a length alone", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "/ abc", false},
		{"neither", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/ ", false},
		{"both", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, "/ abc", true},
		{"both, the other way about", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncONTENT-lENGTH: 13\r\n\r\n" + chunks, "/ abc", true},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, "/ ", true},
		{"both in HTTP/1.0", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "/ abc", true},
		{"a tunnel's", "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n", " ", true},
	} {
		_, in := sendRaw(t, address, tt.request+second)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != tt.body || res.Close != tt.last {
			t.Errorf("%s: %q, %v, the last one: %v", tt.name, body, err, res.Close)
		}
		more, err := http.ReadResponse(in, nil)
		if tt.last && err == nil {
			t.Errorf("%s: then came %s", tt.name, more.Status)
		}
		if !tt.last && (err != nil || more.StatusCode != http.StatusOK) {
			t.Errorf("%s: no second answer: %v", tt.name, err)
		}
	}
}

// What looks like a refusal of the server's in the middle of an answer is a part of it: an upstream may send what it likes.
func TestAnAnswerThatLooksLikeARefusalIsLeftAlone(t *testing.T) {
	t.Parallel()
	forged := "HTTP/1.1 400 Bad Request: forged" + plainText
	text := strings.Repeat("x", 8<<10)
	address, refused := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(text) + len(forged) + len(text))}
		w.Header().Set("X-Request-Id", "r1")
		for _, piece := range []string{text, forged + text} { // each is a write to the connection of its own
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
	})
	_, in := sendRaw(t, address, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nno request\r\n\r\n")
	for range 2 {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != text+forged+text {
			t.Errorf("%d bytes, %v: the answer was changed", len(body), err)
		}
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 400 || res.Header.Get("X-Request-Id") == "" || len(refused()) != 1 {
		t.Errorf("what the server refuses afterwards has no envelope: %v, %v", res, err)
	}
}

// Without a connection of ours nobody knows what the server dropped.
func TestAChunkedRequestOfAnUnknownConnectionIsItsLast(t *testing.T) {
	t.Parallel()
	if none := (*serverConn)(nil); !none.sawLength() || new(serverConn).sawLength() {
		t.Error("what cannot be known is not assumed")
	}
}

func TestALengthIsSeenInWhateverPiecesItComes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.StringMatching(`(GET / HTTP/1\.1\r\n)?(X: Content-Length: 3\r\n|content\r\n|Content-Lengt: 1\r\n|\r\n|CC: 1\r\n){0,4}`).Draw(t, "before")
		length := rapid.SampledFrom([]string{"", "Content-Length: 3\r\n", "content-length:3\n", "CONTENT-LENGTH: x"}).Draw(t, "length")
		text := []byte(before + length)
		var s lengthScan
		for len(text) > 0 {
			n := rapid.IntRange(1, len(text)).Draw(t, "piece")
			s.scan(text[:n])
			text = text[n:]
		}
		if s.seen.Load() != (length != "") {
			t.Fatalf("seen: %v", s.seen.Load())
		}
	})
}
