package upstream

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// body is what is left of an answer: it holds the connection until its end, and closes it when the end is not awaited.
type body struct {
	conn    *conn
	request *http.Request
	unread  io.ReadCloser
	keep    bool // the connection may serve another call afterwards
	whole   bool // it was read to its end
	unwatch func() bool
	ended   atomic.Bool
}

// Read implements io.Reader. An answer that breaks off is never io.EOF.
func (b *body) Read(p []byte) (int, error) {
	if b.ended.Load() {
		if b.whole {
			return 0, io.EOF
		}
		return 0, errClosed
	}
	n, err := b.unread.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.whole = true
		b.end(true)
		return n, io.EOF
	}
	b.end(false)
	return n, cause(b.request, err)
}

// Close implements io.Closer. It may be called while another goroutine reads.
func (b *body) Close() error {
	b.end(false)
	return nil
}

// end gives the connection up, once: for the next call when this one's answer was read to its end.
func (b *body) end(whole bool) {
	if b.ended.Swap(true) {
		return
	}
	unwatched := b.unwatch() // false: it is being closed at this moment
	if whole && b.keep && b.conn.sent() && unwatched && b.conn.in.Buffered() == 0 {
		b.conn.transport.put(b.conn)
		return
	}
	_ = b.conn.Close() // nothing is to be had from it any more
}
