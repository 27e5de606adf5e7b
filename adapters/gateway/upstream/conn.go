package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// conn is a connection that serves one call at a time.
type conn struct {
	net.Conn  // the socket, or TLS over it
	socket    *socket
	transport *Transport
	origin    origin
	state     *tls.ConnectionState // nil without TLS
	since     time.Time            // in the pool
	until     time.Time            // it may be used; zero: as long as it lasts
	in        *bufio.Reader
	sending   chan error // of the present call: how the write beside it has ended; nil: it is written
	untouched bool       // nothing of the present call has been sent, and nothing will be
	answered  bool       // something of its answer has come
	allowance int64      // bytes that may still be read
	one       [1]byte
	aborts    func() // abort, made once
}

// dial opens a connection.
func (t *Transport) dial(ctx context.Context, to origin) (*conn, error) {
	nc, err := t.Dial(ctx, "tcp", to.address)
	if err != nil {
		return nil, err
	}
	s := newSocket(nc, to.secure)
	c := &conn{Conn: s, socket: s, transport: t, origin: to}
	c.aborts = c.abort
	if to.secure {
		over, err := t.secure(ctx, to, s)
		if err != nil {
			return nil, err
		}
		state := over.ConnectionState()
		c.Conn, c.state = over, &state
	}
	c.in = bufio.NewReaderSize(c, 8<<10)
	if t.LiveFor > 0 {
		c.until = time.Now().Add(spread(t.LiveFor))
	}
	return c, nil
}

// fresh looks, without waiting, whether an idle connection is good for another call. There must be nothing to read: an end means
// that the upstream has hung up, and what came without a question would be taken for the next call's answer. What TLS says for
// itself, such as session tickets that come late, is taken in; half a record may become anything.
func (c *conn) fresh() bool {
	c.socket.looking = true
	n, err := c.Conn.Read(c.one[:])
	c.socket.looking = false
	return n == 0 && errors.Is(err, errNothing) && c.socket.records.between()
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
func (c *conn) exchange(r *http.Request, m *message) (*http.Response, error) {
	c.sending, c.untouched, c.answered, c.allowance = nil, false, false, c.transport.MaxHeader
	b := &body{conn: c, request: r}
	b.unwatch = context.AfterFunc(r.Context(), c.aborts) // wakes whoever reads or writes
	failed := c.send(m)
	if c.untouched {
		b.end(false)
		return nil, cause(r, failed)
	}
	// An upstream that refuses a body may hang up while it is sent: what it has answered counts.
	res, err := c.hear(r)
	if err != nil {
		b.end(false)
		if failed != nil && !c.answered {
			err = failed
		}
		return nil, cause(r, err)
	}
	c.allowance = math.MaxInt64
	res.TLS = c.state
	b.keep = !res.Close && failed == nil
	if res.Body == http.NoBody {
		b.end(true)
		return res, nil
	}
	b.unread = res.Body
	res.Body = b
	return res, nil
}

// abort ends a call where it is. TLS's own word for the end is not said: an upstream might answer to it, and its answer to a call
// that is over would be heard before the connection is closed.
func (c *conn) abort() { _ = c.socket.Close() }

// sentAtOnce is what a socket with nothing to send takes without waiting for the upstream to read: less than what systems give
// its buffer (Linux 16 kB at first, which it makes more; tcp(7), tcp_wmem).
const sentAtOnce = 12 << 10

// send writes a request. A large one is written beside: the upstream may answer before it reads it, or never read it at all.
func (c *conn) send(m *message) error {
	if len(*m.buf) <= sentAtOnce {
		n, err := c.Conn.Write(*m.buf)
		c.untouched = err != nil && n == 0
		if !m.safe && !c.untouched {
			m.free() // it is not sent again, and the answer may take its time
		}
		return err
	}
	own, sent := *m, make(chan error, 1)
	m.buf = nil
	c.sending = sent
	go func() {
		_, err := c.Conn.Write(*own.buf)
		own.free()
		sent <- err
	}()
	return nil
}

// sendWait is how long the end of an answer waits for that of its request, as the standard transport's does.
const sendWait = 50 * time.Millisecond

// sent reports whether the whole request has gone out.
func (c *conn) sent() bool {
	if c.sending == nil {
		return true
	}
	late := time.NewTimer(sendWait)
	defer late.Stop()
	select {
	case err := <-c.sending:
		return err == nil
	case <-late.C:
		return false
	}
}

// hear reads the header of the answer, past interim answers.
func (c *conn) hear(r *http.Request) (*http.Response, error) {
	var told func(code int, header textproto.MIMEHeader) error // nil: nobody wants interim answers
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		told = trace.Got1xxResponse
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
		case told != nil:
			if err := told(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}
