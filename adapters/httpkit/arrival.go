package httpkit

import (
	"bytes"
	"net/http"
	"sync/atomic"
)

// BodyHasCome reports whether a request's body of known length has come as a whole, so that reading it waits for nobody. Ask before
// any of it is read. It is false where that is not known: without a connection of Listen, and behind a pipelined request.
func BodyHasCome(r *http.Request) bool {
	c, _ := r.Context().Value(connKey{}).(*serverConn)
	if c == nil || r.ContentLength <= 0 {
		return false
	}
	read := c.body.read.Load()
	return read == r.ContentLength || read >= 0 && read+queued(c.Conn) == r.ContentLength
}

// arrival counts what a connection has read of the present request's body: what came with the header's end, and since.
type arrival struct{ read atomic.Int64 } // bytes; negative: the header's end has not been seen

func (a *arrival) reset() { a.read.Store(-1) }

// add takes note of a piece. A header's end that comes in two pieces is not seen: that body is not known about.
func (a *arrival) add(p []byte) {
	if read := a.read.Load(); read >= 0 {
		a.read.Store(read + int64(len(p)))
	} else if _, body, found := bytes.Cut(p, headerEnd); found {
		a.read.Store(int64(len(body)))
	}
}

var headerEnd = []byte("\r\n\r\n")
