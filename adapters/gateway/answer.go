package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// wholeMost is the size up to which an answer is read whole and charged before its header is sent, so that a failed charge
// can still be told as 503, and all of it is one write.
const wholeMost = 64 << 10

// answered handles the upstream's header: it decides whether the call is charged, and when.
func (c *call) answered(res *http.Response) error {
	c.watch.progress()
	c.upstream = c.g.deps.Now().Sub(c.upstreamAt)
	c.g.metrics.upstreamAnswered(c, res.StatusCode)
	c.cleanHeader(res.Header)
	cleanAnswerTrailer(res.Trailer)

	switch {
	case c.brokenOff() != nil:
		return c.brokenOff()
	case res.StatusCode < 100: // RFC 9110 15; net/http reads it, and cannot write it
		return fmt.Errorf("the upstream answered with the status %03d", res.StatusCode)
	case res.StatusCode == http.StatusSwitchingProtocols:
		return c.answerTunnel(res)
	case !chargeable(res.StatusCode):
		c.release()
		res.Header[headerCharge] = nothingCharged
		c.begin(res.StatusCode)
		res.Body = &passing{ReadCloser: res.Body, call: c, res: res}
		return nil
	case c.r.Method == http.MethodHead || !mayHaveBody(res):
		return c.answerWhole(res, nil)
	case res.ContentLength >= 0 && res.ContentLength <= wholeMost:
		return c.answerSmall(res)
	}
	c.answerStream(res)
	return nil
}

// brokenOff is why the request did not reach the upstream whole, nil when it did or is still on its way. What the upstream answers
// to half a request is not the caller's answer, unless it has begun before: an upstream may take the end of a body that its caller broke for
// the end of the request.
func (c *call) brokenOff() error {
	if c.body == nil {
		return nil
	}
	return c.body.failure()
}

func chargeable(status int) bool { return status >= 200 && status < 300 }

func mayHaveBody(res *http.Response) bool {
	return res.ContentLength != 0 && res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusNotModified
}

// cleanHeader drops what only we may say, and keeps cookies to their API. When our CORS layer has spoken for this origin, the
// upstream's own word would make the answer unreadable for a browser.
func (c *call) cleanHeader(h http.Header) {
	c.confineCookies(h)
	for name := range h {
		if ours(normal(name)) {
			delete(h, name)
		}
	}
	mine := c.w.Header()
	for name := range mine {
		switch {
		case name == "X-Ratelimit-Limit":
			h.Del("X-Ratelimit-Limit")
			h.Del("X-Ratelimit-Remaining")
			h.Del("X-Ratelimit-Reset")
		case name == "Access-Control-Allow-Origin":
			for other := range h {
				if strings.HasPrefix(other, "Access-Control-") {
					delete(h, other)
				}
			}
		case name != "Vary":
			delete(h, name) // e.g. security headers that an outer layer sets: one value each
		}
	}
	if _, has := h["Content-Type"]; !has {
		mine["Content-Type"] = nil // the server would guess one
	}
}

// begin notes that the header of an answer goes out next.
func (c *call) begin(status int) {
	c.status = status
	c.sent, c.out.begun = true, true
	if c.body != nil {
		c.body.stream()
	}
}

// answerSmall reads the whole body, charges, and only then lets anything out.
func (c *call) answerSmall(res *http.Response) error {
	buf := bufferOf(res.ContentLength)
	n, err := io.ReadFull(&moving{res.Body, &c.watch}, buf.bytes[:res.ContentLength])
	_ = res.Body.Close() // it was read to its end, or is given up
	if err == nil {
		err = c.brokenOff()
	}
	if err != nil {
		buf.free()
		return fmt.Errorf("the upstream's answer broke off after %d of %d bytes: %w", n, res.ContentLength, err)
	}
	body := &pooled{buf: buf}
	body.Reset(buf.bytes[:n])
	if err := c.answerWhole(res, buf.bytes[:n]); err != nil {
		_ = body.Close()
		return err
	}
	res.Body = body
	return nil
}

// answerWhole charges for an answer whose body is known. body is nil when there is none.
func (c *call) answerWhole(res *http.Response, body []byte) error {
	var answer *usage.IdempotentAnswer
	if c.payment.claim != nil {
		room := c.g.claims.take(len(body))
		if room {
			defer c.g.claims.give(len(body))
		}
		answer = c.answerToKeep(res, body, room)
	}
	if err := c.charge(res.StatusCode, answer); err != nil {
		return err
	}
	res.Header[headerCharge] = c.payment.amount(c.endpoint.Charge)
	c.begin(res.StatusCode)
	return nil
}

// keepMost is the size up to which an answer, header and body, is kept for an Idempotency-Key.
const keepMost = 256 << 10

// answerToKeep is what is stored of an answer under an Idempotency-Key: all of it when it is whole and not too large, else
// what a repeat must agree with.
func (c *call) answerToKeep(res *http.Response, body []byte, whole bool) *usage.IdempotentAnswer {
	a := &usage.IdempotentAnswer{BodyHash: c.bodySum(), Status: res.StatusCode}
	if whole && len(res.Trailer) == 0 && len(body)+sizeOf(res.Header) <= keepMost { // trailers have no place in what is kept
		a.Kept, a.Header, a.Body = true, res.Header, body
	}
	return a
}

func sizeOf(h http.Header) (bytes int) {
	for name, values := range h {
		for _, value := range values {
			bytes += len(name) + len(value) + len(": \r\n")
		}
	}
	return bytes
}

// moving is an answer that has not come whole yet: each piece is progress, as it is of a stream.
type moving struct {
	io.Reader
	watch *watchdog
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n < len(p) {
		m.watch.progress()
	}
	return n, err
}

// pooled is a body in a pooled buffer.
type pooled struct {
	bytes.Reader
	buf *buffer
}

// Close gives the buffer back; the proxy closes a body once it has copied it, and may do so twice.
func (p *pooled) Close() error {
	if p.buf != nil {
		p.Reset(nil)
		p.buf.free()
		p.buf = nil
	}
	return nil
}

// passing is the body of an answer that is not charged.
type passing struct {
	io.ReadCloser
	call *call
	res  *http.Response
}

func (p *passing) Read(b []byte) (int, error) {
	p.call.watch.resume(toTake)
	n, err := p.ReadCloser.Read(b)
	p.call.watch.pause(toTake)
	switch {
	case errors.Is(err, io.EOF):
		cleanAnswerTrailer(p.res.Trailer) // it has come with the end
	case err != nil:
		p.call.cause = err
	}
	return n, err
}
