package gateway

import (
	"errors"
	"io"
	"net/http"
)

// keepMost is the size up to which an answer is kept for an Idempotency-Key.
const keepMost = 256 << 10

// answerStream passes an answer on while it comes. Its end is held back until the call is charged: the last bytes of a
// known length, or the end of an unknown one. Until then the caller has no complete answer.
func (c *call) answerStream(res *http.Response) {
	res.Header[headerCharge] = c.payment.amount(c.endpoint.Charge)
	s := &stream{ReadCloser: res.Body, call: c, res: res, left: res.ContentLength}
	s.keeping = c.payment.claim != nil && !c.payment.free
	res.Body = s
	if s.left < 0 && !c.r.ProtoAtLeast(1, 1) {
		res.Body = &lastByte{ReadCloser: s}
	}
	c.begin(res.StatusCode)
}

// stream is the body of an answer that is charged at its end.
type stream struct {
	io.ReadCloser
	call     *call
	res      *http.Response
	left     int64 // bytes of a known length still to come; negative: unknown
	keeping  bool
	kept     []byte
	finished bool
}

var errEndsUncharged = errors.New("the end of the answer is withheld: it could not be charged")

func (s *stream) Read(p []byte) (int, error) {
	s.call.watch.progress() // the caller has taken the last piece
	n, err := s.ReadCloser.Read(p)
	s.call.watch.progress()
	s.keep(p[:n])
	if s.left > 0 {
		s.left -= int64(n)
	}
	switch {
	case s.finished:
	case errors.Is(err, io.EOF), s.left == 0:
		if s.finish(true) != nil {
			return 0, errEndsUncharged
		}
	case err != nil:
		s.broken(err)
	}
	return n, err
}

// broken ends a stream that the upstream did not finish: no charge, unless it is the caller who left.
func (s *stream) broken(err error) {
	if s.call.clientGone() && !s.call.watch.expired() {
		_ = s.finish(false)
		return
	}
	s.finished = true
	s.call.cause = err
	s.call.g.metrics.upstreamFailed(s.call, "broken")
	s.call.release()
}

// Close of a stream that has not ended means that the caller did not take the rest: it is charged for what it was served.
func (s *stream) Close() error {
	if !s.finished {
		_ = s.finish(false)
	}
	return s.ReadCloser.Close()
}

func (s *stream) finish(whole bool) error {
	s.finished = true
	if !whole {
		s.keeping = false
		s.kept = nil
		s.call.status = statusClientGone
	}
	err := s.call.charge(s.res.StatusCode, s.call.keep(s.res, s.kept, s.keeping))
	if err != nil {
		s.call.refusal = "metering"
		s.call.release()
	}
	return err
}

func (s *stream) keep(p []byte) {
	if !s.keeping {
		return
	}
	if len(s.kept)+len(p) > keepMost {
		s.keeping, s.kept = false, nil
		return
	}
	s.kept = append(s.kept, p...)
}

// lastByte holds the last byte of what has come back until more comes or the end is there. For a caller who speaks HTTP/1.0
// an answer of unknown length ends with the connection, so that nothing but a missing byte tells it from a broken one.
type lastByte struct {
	io.ReadCloser
	held byte
	has  bool
}

func (l *lastByte) Read(p []byte) (n int, err error) {
	if len(p) < 2 {
		return 0, io.ErrShortBuffer
	}
	if l.has {
		p[0] = l.held
		n, err = l.ReadCloser.Read(p[1:])
		n++
	} else {
		n, err = l.ReadCloser.Read(p)
	}
	switch {
	case errors.Is(err, io.EOF):
		l.has = false
	case n > 0:
		n--
		l.held, l.has = p[n], true
	}
	return n, err
}
