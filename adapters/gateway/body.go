package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
)

// slowestBody is the least a body must bring on average, in bytes per second beyond the first PROXY_TIMEOUT of waiting, until
// the answer begins. Time in which the upstream does not take what has come does not count (docs/decisions/0021).
const slowestBody = 1 << 10

// hangUpTime is how long it takes to see whether a caller has hung up.
const hangUpTime = 10 * time.Millisecond

// requestBody passes the caller's body on: within the limit, watched for progress, and hashed when the call may be retried.
// The transport reads it on a goroutine of its own, also after an answer.
type requestBody struct {
	io.ReadCloser
	call *call
	conn *http.ResponseController

	mu       sync.Mutex
	hash     hash.Hash     // nil unless asked for
	want     []byte        // what it must come to; nil: anything
	err      error         // how reading ended, io.EOF for well
	due      time.Time     // when the Read that waits for the caller ends at the latest; zero: none does
	closed   bool          // the call has ended: nothing is read any more
	answered bool          // the answer has begun
	got      int64         // bytes
	waited   time.Duration // for them
}

// wrapBody prepares the request's body. A slow sender is bounded by a deadline on the connection: cancelling alone would leave
// the read waiting.
func (c *call) wrapBody() {
	if !c.hasBody() {
		return
	}
	httpkit.AnswerFirst(c.w) // an upstream may answer while it still reads
	b := &requestBody{ReadCloser: http.MaxBytesReader(c.w, c.r.Body, c.g.cfg.BodyLimit), call: c, conn: http.NewResponseController(c.w)}
	if c.payment.claim != nil || c.wantSum != nil {
		b.hash, b.want = sha256.New(), c.wantSum
	}
	c.body = b
	c.r.Body = b
}

func (c *call) hasBody() bool { return c.r.Body != nil && c.r.Body != http.NoBody }

func (b *requestBody) Read(p []byte) (int, error) {
	start := b.call.g.deps.Now()
	if !b.begin(start) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	b.call.watch.resume(toSend)

	b.mu.Lock()
	defer b.mu.Unlock()
	end := b.call.g.deps.Now()
	if err != nil && !errors.Is(err, io.EOF) && !end.Before(b.due) {
		err = errors.Join(os.ErrDeadlineExceeded, err) // in a trailer net/http calls it something else
	}
	b.due = time.Time{}
	b.got += int64(n)
	b.waited += end.Sub(start)
	if errors.Is(err, io.EOF) && !b.closed {
		// From here on the server watches the connection for a hang-up. After any other end the deadline stays: the server
		// tries to read the rest of the body before it closes, and a caller who stalls would keep it.
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	if b.hash != nil {
		b.hash.Write(p[:n])
	}
	if errors.Is(err, io.EOF) && b.call.trailer != nil {
		cleanTrailer(b.call.trailer, b.call.secret) // it has come with the end
	}
	if errors.Is(err, io.EOF) && b.want != nil && subtle.ConstantTimeCompare(b.hash.Sum(nil), b.want) != 1 {
		n, err = 0, errIdempotencyConflict // without its end the upstream has no request
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	return n, err
}

// begin sets the deadline of a read, which alone bounds the wait for the caller; false when nothing is to be read any more.
func (b *requestBody) begin(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !b.call.watch.pause(toSend) {
		return false
	}
	allowed := b.call.g.cfg.ProxyTimeout
	if !b.answered {
		allowed = min(allowed, allowed+time.Duration(b.got)*time.Second/slowestBody-b.waited)
	}
	b.due = now.Add(allowed)
	_ = b.conn.SetReadDeadline(b.due) // only test writers have none
	return true
}

// failure is why the caller's body could not be read to its end, nil when it could or was not.
func (b *requestBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed()
}

func (b *requestBody) failed() error {
	if b.err == nil && !b.due.IsZero() && !b.call.g.deps.Now().Before(b.due) {
		return os.ErrDeadlineExceeded // the read is about to say so: the server ends the request's context first
	}
	if errors.Is(b.err, io.EOF) || errors.Is(b.err, http.ErrBodyReadAfterClose) {
		return nil
	}
	return b.err
}

// left reports whether the caller is the cause that nothing moved until the watchdog ended the call: reading its body has failed, or
// nobody read the body and the caller had hung up meanwhile. No read waits for the caller: the watchdog would have waited too.
func (b *requestBody) left() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed() != nil {
		return true
	}
	if b.err != nil || b.closed {
		return false
	}
	b.closed = true // the call is over
	_ = b.conn.SetReadDeadline(time.Now().Add(hangUpTime))
	_, err := io.Copy(io.Discard, b.ReadCloser)
	return err != nil && !isTimeout(err)
}

// stream lets the rest of the body take its time: the answer has begun, and both may be parts of one conversation.
func (b *requestBody) stream() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = true
}

// close ends reading for good and reports whether the body has been read to its end.
func (b *requestBody) close() (whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return errors.Is(b.err, io.EOF)
}

// sum is the hash of the whole body, nil when it was not read to its end.
func (b *requestBody) sum() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hash == nil || !errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.hash.Sum(nil)
}

var emptySum = func() []byte { s := sha256.Sum256(nil); return s[:] }()

// bodySum is the hash of the request's body as far as it is known.
func (c *call) bodySum() []byte {
	if c.body == nil {
		return emptySum
	}
	return c.body.sum()
}

// refuseBody ends a call whose body could not be read, and reports whether that is so.
func (c *call) refuseBody() bool {
	if c.body == nil {
		return false
	}
	switch err := c.body.failure(); {
	case err == nil:
		return false
	case errors.Is(err, errIdempotencyConflict):
		c.refuse(errIdempotencyConflict)
	case isTooLarge(err):
		c.refuse(errTooLarge)
	case isTimeout(err):
		c.refuse(httpkit.ErrTooSlow.Because(err))
	case c.clientGone(): // a read of the connection has failed
		c.leave()
	default:
		c.refuse(errBadBody.Because(err))
	}
	return true
}

// endBody gives up what is left of the request's body, so that it holds neither the connection nor what comes after it.
func (c *call) endBody() {
	if !c.hasBody() {
		return
	}
	if c.body != nil && c.body.close() {
		return
	}
	if c.aborted {
		httpkit.DropBody(c.w, c.sentBody)
		return
	}
	httpkit.EndBody(c.w, c.sentBody)
}
