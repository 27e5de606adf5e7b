package upstream

import (
	"bufio"
	"context"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// conn is a connection that serves one call at a time.
type conn struct {
	net.Conn
	transport *Transport
	address   string
	since     time.Time // in the pool
	in        *bufio.Reader
	out       *bufio.Writer
	answered  bool  // something of the present call's answer has come
	allowance int64 // bytes that may still be read
}

func newConn(t *Transport, address string, nc net.Conn) *conn {
	c := &conn{Conn: nc, transport: t, address: address}
	c.in, c.out = bufio.NewReaderSize(c, 8<<10), bufio.NewWriterSize(nc, 4<<10)
	return c
}

// Read implements io.Reader, within the allowance.
func (c *conn) Read(p []byte) (int, error) {
	if c.allowance <= 0 {
		return 0, errHeaderTooLarge
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.allowance)])
	c.allowance -= int64(n)
	c.answered = c.answered || n > 0
	return n, err
}

// exchange sends a request and returns its response. The connection is then the response body's, or that of the pool when
// there is none, or closed.
func (c *conn) exchange(r *http.Request) (*http.Response, error) {
	c.answered, c.allowance = false, c.transport.MaxHeader
	b := &body{conn: c, request: r}
	b.unwatch = context.AfterFunc(r.Context(), func() { _ = c.Close() }) // wakes whoever reads or writes
	res, err := c.talk(r)
	if err != nil {
		b.end(false)
		return nil, cause(r, err)
	}
	c.allowance = math.MaxInt64
	b.keep = !res.Close
	if res.Body == http.NoBody {
		b.end(true)
		return res, nil
	}
	b.unread = res.Body
	res.Body = b
	return res, nil
}

func (c *conn) talk(r *http.Request) (*http.Response, error) {
	if err := r.Write(c.out); err != nil {
		return nil, err
	}
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	var hear func(code int, header textproto.MIMEHeader) error // nil: nobody wants interim answers
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		hear = trace.Got1xxResponse
	}
	for {
		res, err := http.ReadResponse(c.in, r)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode >= 200, res.StatusCode < 100: // the latter is none, as the standard transport returns it
			return res, nil
		case hear != nil:
			if err := hear(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}
