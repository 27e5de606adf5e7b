package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// scripted is a connection that gives prepared answers, one byte at a time.
type scripted struct {
	net.Conn
	read func([]byte) (int, error)
}

func (s *scripted) Read(p []byte) (int, error)  { return s.read(p) }
func (s *scripted) Write(p []byte) (int, error) { return len(p), nil }

func answering(text string) *conn {
	return &conn{nc: &scripted{read: iotest.OneByteReader(strings.NewReader(text)).Read}, buf: make([]byte, 256)}
}

const charged = "X-Callora-Charge: 0.0000100\r\n"

func TestACallReadsItsAnswerToTheEnd(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		bytes int
		text  string
	}{
		"known length":     {5, "HTTP/1.1 200 OK\r\n" + charged + "Content-Length: 5\r\n\r\nhello"},
		"lower case":       {5, "HTTP/1.1 200 OK\r\n" + strings.ToLower(charged) + "content-length:5\r\n\r\nhello"},
		"no body":          {0, "HTTP/1.1 200 OK\r\n" + charged + "Content-Length: 0\r\n\r\n"},
		"larger than read": {1000, "HTTP/1.1 200 OK\r\n" + charged + "Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000)},
		"chunks":           {5, "HTTP/1.1 200 OK\r\n" + charged + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"trailers":         {10, "HTTP/1.1 200 OK\r\n" + charged + "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"},
		"an early hint":    {1, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + charged + "Content-Length: 1\r\n\r\nx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, r := answering(answer.text+answer.text), request{charge: "0.0000100", answer: answer.bytes}
			for range 2 { // the second shows that the first took its own bytes and no more
				if err := c.call(&r); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAWrongAnswerIsAnErrorThatTheConnectionSurvives(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refused":     "HTTP/1.1 402 Payment Required\r\nContent-Length: 2\r\n\r\n{}",
		"uncharged":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"other size":  "HTTP/1.1 200 OK\r\n" + charged + "Content-Length: 3\r\n\r\n{ }",
		"other price": "HTTP/1.1 200 OK\r\nX-Callora-Charge: 0.0000000\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, r := answering(answer+answer), request{charge: "0.0000100", answer: 2}
			for range 2 {
				if err := c.call(&r); !errors.Is(err, errWrong) {
					t.Errorf("error %v, want errWrong", err)
				}
			}
		})
	}
}

func TestABrokenAnswerEndsTheConnection(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":         "",
		"not HTTP":        "SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n",
		"cut header":      "HTTP/1.1 200 OK\r\nContent-Le",
		"cut body":        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
		"no length":       "HTTP/1.1 200 OK\r\n\r\nhello",
		"bad length":      "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
		"bad chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
		"long header":     "HTTP/1.1 200 OK\r\nX-Pad: " + strings.Repeat("x", 300) + "\r\n\r\n",
		"last of its own": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request{}
			if err := answering(answer).call(&r); err == nil || errors.Is(err, errWrong) {
				t.Errorf("error %v, want one that ends the connection", err)
			}
		})
	}
}
