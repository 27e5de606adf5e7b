package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash"
	"io"
	"net/http"
	"sync"
	"time"
)

// requestBody passes the caller's body on: within the limit, watched for progress, and hashed when the call may be retried.
// The transport reads it on a goroutine of its own, also after an answer.
type requestBody struct {
	io.ReadCloser
	call *call

	mu   sync.Mutex
	hash hash.Hash // nil unless asked for
	want []byte    // what it must come to; nil: anything
	err  error     // how reading ended, io.EOF for well
}

// wrapBody prepares the request's body. A slow sender is bounded by a rolling deadline on the connection: cancelling alone
// would leave the read waiting.
func (c *call) wrapBody() {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return
	}
	// an upstream may answer while it still reads; without this the server would first swallow the rest of the body
	_ = http.NewResponseController(c.w).EnableFullDuplex() // HTTP/2 has it anyway
	b := &requestBody{ReadCloser: http.MaxBytesReader(c.w, c.r.Body, c.g.cfg.BodyLimit), call: c}
	if c.payment.claim != nil || c.wantSum != nil {
		b.hash, b.want = sha256.New(), c.wantSum
	}
	c.body = b
	c.r.Body = b
}

func (b *requestBody) Read(p []byte) (int, error) {
	conn := http.NewResponseController(b.call.w)
	_ = conn.SetReadDeadline(b.call.g.deps.Now().Add(b.call.g.cfg.ProxyTimeout)) // only test writers have none
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// From here on the server watches the connection for a hang-up. After any other end the deadline stays: the server
		// tries to read the rest of the body before it closes, and a caller who stalls would keep it.
		_ = conn.SetReadDeadline(time.Time{})
	}
	b.call.watch.progress()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hash != nil {
		b.hash.Write(p[:n])
	}
	if errors.Is(err, io.EOF) && b.want != nil && subtle.ConstantTimeCompare(b.hash.Sum(nil), b.want) != 1 {
		n, err = 0, errIdempotencyConflict // without its end the upstream has no request
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	return n, err
}

// failure is why the caller's body could not be read to its end, nil when it could or was not.
func (b *requestBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, io.EOF) || errors.Is(b.err, http.ErrBodyReadAfterClose) {
		return nil
	}
	return b.err
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
