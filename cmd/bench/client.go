package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// request is one HTTP request, ready to be sent again and again.
type request struct {
	bytes  []byte
	charge string // what X-Callora-Charge must say; "": nothing is charged here
	answer int    // bytes of the answer's body
}

func newRequest(s shape, b buyer) request {
	text := s.method + " /v1/call/" + b.slug + s.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: callora-bench\r\nAccept: */*\r\nX-Api-Key: " + b.key + "\r\n"
	if s.body != "" {
		text += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(s.body)) + "\r\n"
	}
	return request{bytes: []byte(text + "\r\n" + s.body), charge: b.charge, answer: s.answer}
}

// conn is a keep-alive HTTP/1.1 connection. It reads of an answer only what must be known, so that the generator takes
// little of the machine it shares with what it measures.
type conn struct {
	nc      net.Conn
	buf     []byte
	at, end int // what is read and not yet used
}

const mostHeader = 16 << 10

func dial(addr string) (*conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &conn{nc: nc, buf: make([]byte, mostHeader)}, nil
}

// errWrong marks an answer that is complete but not the one that was paid for; the connection is still good.
var errWrong = errors.New("wrong answer")

var (
	errLong    = errors.New("an answer's header is too long")
	errClosing = errors.New("the server ends its connections")
)

// call sends a request and reads its answer to the end.
func (c *conn) call(r *request) error {
	if _, err := c.nc.Write(r.bytes); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for {
		h, err := c.header(r)
		if err != nil {
			return err
		}
		if h.status/100 == 1 {
			continue
		}
		n, err := c.skipBody(h)
		if err != nil {
			return err
		}
		return h.check(r, n)
	}
}

// head is what an answer's header says.
type head struct {
	status  int
	length  int // -1: chunked
	charge  string
	charged bool // X-Callora-Charge is what was asked for
}

// check holds an answer, of so many bytes, against the request.
func (h head) check(r *request, bytes int) error {
	switch {
	case h.status != 200:
		return fmt.Errorf("%w: status %d", errWrong, h.status)
	case r.charge != "" && !h.charged:
		return fmt.Errorf("%w: X-Callora-Charge is %q, not %q", errWrong, h.charge, r.charge)
	case bytes != r.answer:
		return fmt.Errorf("%w: a body of %d bytes, not %d", errWrong, bytes, r.answer)
	}
	return nil
}

// header reads one header.
func (c *conn) header(r *request) (head, error) {
	var stop int
	for {
		if stop = bytes.Index(c.buf[c.at:c.end], []byte("\r\n\r\n")); stop >= 0 {
			break
		}
		if err := c.more(); err != nil {
			return head{}, fmt.Errorf("read an answer: %w", err)
		}
	}
	lines := c.buf[c.at : c.at+stop+2]
	c.at += stop + 4
	return parseHead(lines, r.charge)
}

// parseHead reads the status line and the header lines that matter.
func parseHead(lines []byte, charge string) (head, error) {
	h := head{length: -2}
	first, rest, _ := bytes.Cut(lines, []byte("\r\n"))
	if len(first) < 12 || !bytes.HasPrefix(first, []byte("HTTP/1.1 ")) {
		return head{}, fmt.Errorf("not an HTTP/1.1 answer: %.40q", first)
	}
	var err error
	if h.status, err = strconv.Atoi(string(first[9:12])); err != nil {
		return head{}, fmt.Errorf("not an HTTP/1.1 answer: %.40q", first)
	}
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch len(name) { // most lines are told apart by their length
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				if h.length, err = strconv.Atoi(string(value)); err != nil || h.length < 0 {
					return head{}, fmt.Errorf("Content-Length is %q", value)
				}
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				h.length = -1
			}
		case len("X-Callora-Charge"):
			if bytes.EqualFold(name, []byte("X-Callora-Charge")) {
				if h.charged = string(value) == charge; !h.charged {
					h.charge = string(value)
				}
			}
		case len("Connection"):
			if bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")) {
				return head{}, errClosing
			}
		}
	}
	switch {
	case h.status/100 == 1 || h.status == 204 || h.status == 304:
		h.length = 0
	case h.length == -2:
		return head{}, errors.New("an answer says nothing of its length")
	}
	return h, nil
}

// skipBody reads a body to its end, and returns its size.
func (c *conn) skipBody(h head) (bytes int, err error) {
	if h.length >= 0 {
		return h.length, c.skip(h.length)
	}
	for {
		line, err := c.line()
		if err != nil {
			return bytes, err
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return bytes, fmt.Errorf("a chunk's size is %q", line)
		}
		if size == 0 {
			break
		}
		if err := c.skip(int(size) + 2); err != nil {
			return bytes, err
		}
		bytes += int(size)
	}
	for { // trailers, up to an empty line
		if line, err := c.line(); err != nil || len(line) == 0 {
			return bytes, err
		}
	}
}

func (c *conn) line() ([]byte, error) {
	for {
		if stop := bytes.Index(c.buf[c.at:c.end], []byte("\r\n")); stop >= 0 {
			line := c.buf[c.at : c.at+stop]
			c.at += stop + 2
			return line, nil
		}
		if err := c.more(); err != nil {
			return nil, fmt.Errorf("read a body: %w", err)
		}
	}
}

func (c *conn) skip(n int) error {
	for n > c.end-c.at {
		n -= c.end - c.at
		c.at = c.end
		if err := c.more(); err != nil {
			return fmt.Errorf("read a body: %w", err)
		}
	}
	c.at += n
	return nil
}

// more reads what has come, keeping what is not yet used.
func (c *conn) more() error {
	if c.at > 0 {
		c.end = copy(c.buf, c.buf[c.at:c.end])
		c.at = 0
	}
	if c.end == len(c.buf) {
		return errLong
	}
	n, err := c.nc.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}
