package httpkit

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Listen makes a server out of net/http's that keeps two promises more on the connections of l.
//
// What the server refuses by itself, before any handler has seen it, has the envelope: a request that is none, a header that
// is too large, a version or a coding it does not know. The server writes those answers to the connection in one piece, in
// plain text and without the X-Request-Id that all of ours have, while no handler has begun; that is how they are known. refused hears
// their statuses; it may be nil.
//
// And it lets Framing know what the server keeps from handlers. Both need Framing, ConnContext and ConnState in http.Server.
func Listen(l net.Listener, newID ports.NewID, refused func(status int)) net.Listener {
	return &listener{Listener: l, newID: newID, onRefusal: refused}
}

type listener struct {
	net.Listener
	newID     ports.NewID
	onRefusal func(status int)
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ours := &serverConn{Conn: c, listener: l}
	ours.body.reset()
	return ours, nil
}

// serverConn is a connection that a server has accepted.
type serverConn struct {
	net.Conn
	listener *listener
	handling atomic.Bool // a handler has begun, and its answer is not over
	refused  atomic.Bool
	lengths  lengthScan
	body     arrival
}

// Write implements net.Conn. The server's own refusal is replaced, everything else passes as it is.
func (c *serverConn) Write(p []byte) (int, error) {
	if c.handling.Load() {
		return c.Conn.Write(p) // an answer, whatever it looks like
	}
	status, reason, ok := serverRefusal(p)
	if !ok {
		return c.Conn.Write(p)
	}
	c.refused.Store(true)
	if c.listener.onRefusal != nil {
		c.listener.onRefusal(status)
	}
	if _, err := c.Conn.Write(refusalText(status, reason, c.listener.newID())); err != nil {
		return 0, err
	}
	return len(p), nil
}

// How long, and for how much, the rest of a refused request is read before the connection closes: closing over unread bytes
// resets it, and the caller may lose the answer.
const (
	refusalLinger = 500 * time.Millisecond
	refusalMost   = 256 << 10
)

// Close implements net.Conn.
func (c *serverConn) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.refused.Swap(false) && half.CloseWrite() == nil {
		if c.Conn.SetReadDeadline(time.Now().Add(refusalLinger)) == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, refusalMost) // whatever the caller does, the connection ends
		}
	}
	return c.Conn.Close()
}

// CloseWrite ends our direction only; the server asks for it before it closes.
func (c *serverConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// ReadFrom lets a copy to the connection use the system's own way, as without us: what is copied is never a refusal.
func (c *serverConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

const plainText = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// serverRefusal reads the server's own refusals: a status line, the two fields of plainText or, for an Expect that it does not
// know, no body at all.
func serverRefusal(p []byte) (status int, reason string, ok bool) {
	const version, width = "HTTP/1.1 ", len("HTTP/1.1 400")
	if len(p) < width || string(p[:len(version)]) != version || p[len(version)] != '4' && p[len(version)] != '5' {
		return 0, "", false
	}
	line, _, _ := bytes.Cut(p, []byte("\r\n"))
	head, _, whole := bytes.Cut(p, []byte("\r\n\r\n"))
	status, err := strconv.Atoi(string(p[len(version):width]))
	if err != nil || !whole {
		return 0, "", false
	}
	plain := bytes.HasPrefix(p[len(line):], []byte(plainText))
	unexpected := status == http.StatusExpectationFailed && !bytes.Contains(head, []byte("\r\nX-Request-Id: "))
	_, reason, _ = strings.Cut(string(line), ": ")
	return status, reason, plain || unexpected
}

// The refusals, by status. What the server says beyond the status is kept: it names what is wrong with the request.
var (
	errMalformed   = fault.New(fault.Invalid, "MALFORMED_REQUEST", "The request is not well-formed HTTP/1.1")
	errExpectation = fault.New(fault.Invalid, "EXPECTATION_FAILED", "The only expectation that can be met is 100-continue")
	errBigHeader   = fault.New(fault.TooLarge, "REQUEST_HEADER_TOO_LARGE", "Request header too large")
	errCoding      = fault.New(fault.Invalid, "UNSUPPORTED_TRANSFER_ENCODING", "The only transfer coding of a request is chunked")
	errVersion     = fault.New(fault.Invalid, "HTTP_VERSION_NOT_SUPPORTED", "The request must be HTTP/1.1 or HTTP/1.0")

	serverFaults = map[int]*fault.Error{
		http.StatusExpectationFailed: errExpectation, http.StatusRequestHeaderFieldsTooLarge: errBigHeader,
		http.StatusNotImplemented: errCoding, http.StatusHTTPVersionNotSupported: errVersion,
	}
)

func refusalText(status int, reason string, request id.ID) []byte {
	f := *errMalformed
	if known := serverFaults[status]; known != nil {
		f = *known
	}
	if reason != "" {
		f.Message += ": " + reason
	}
	body := envelopeText(&f, request.String())
	var b bytes.Buffer
	for _, part := range []string{
		"HTTP/1.1 ", strconv.Itoa(status), " ", http.StatusText(status), "\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ",
		strconv.Itoa(len(body)), "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: ", request.String(),
		"\r\nConnection: close\r\n\r\n", string(body),
	} {
		b.WriteString(part)
	}
	return b.Bytes()
}
