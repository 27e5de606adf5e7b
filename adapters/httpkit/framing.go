package httpkit

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// Framing closes the connection after the answer to a request whose end two readers may see at different places: one with
// Content-Length beside Transfer-Encoding, and any of HTTP/1.0, where Transfer-Encoding means nothing (RFC 9112 6.1). What
// follows such a request on its connection may be part of it to somebody before us, and is not served. The same goes for what
// follows a CONNECT: nobody serves it here, and to its sender it may be the data of a tunnel.
func Framing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*serverConn)
		if c != nil {
			c.handling.Store(true)
		}
		if !r.ProtoAtLeast(1, 1) || r.Method == http.MethodConnect || len(r.TransferEncoding) > 0 && c.sawLength() {
			w.Header()["Connection"] = closing
		}
		next.ServeHTTP(w, r)
	})
}

var closing = []string{"close"}

type connKey struct{}

// ConnContext is for http.Server.ConnContext, with a listener of Listen.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if ours, ok := c.(*serverConn); ok {
		return context.WithValue(ctx, connKey{}, ours)
	}
	return ctx
}

// ConnState is for http.Server.ConnState, with a listener of Listen: what is written from here on belongs to no handler, and
// what is read to the next request.
func ConnState(c net.Conn, state http.ConnState) {
	if ours, ok := c.(*serverConn); ok && state == http.StateIdle {
		ours.handling.Store(false)
		ours.body.reset()
	}
}

// sawLength reports whether the connection has carried a Content-Length, in this request or an earlier one: net/http drops
// the field of a chunked request before a handler sees it. Without a connection of ours that is not known, and assumed.
func (c *serverConn) sawLength() bool { return c == nil || c.lengths.seen.Load() }

// Read implements net.Conn.
func (c *serverConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.lengths.scan(p[:n])
	c.body.add(p[:n])
	return n, err
}

// lengthScan looks for a line that begins with Content-Length: in what a connection carries, in whatever pieces it comes.
type lengthScan struct {
	seen    atomic.Bool
	matched int  // bytes of the line that are those of lengthField
	inLine  bool // the line is another one
}

var lengthField = []byte("content-length:")

func (s *lengthScan) scan(p []byte) {
	if s.seen.Load() {
		return
	}
	for len(p) > 0 {
		if s.inLine {
			end := bytes.IndexByte(p, '\n')
			if end < 0 {
				return
			}
			p, s.inLine, s.matched = p[end+1:], false, 0
			continue
		}
		if p[0]|0x20 != lengthField[s.matched] { // ':' has the bit that makes letters lower case
			s.inLine = true
			continue
		}
		if s.matched++; s.matched == len(lengthField) {
			s.seen.Store(true)
			return
		}
		p = p[1:]
	}
}
