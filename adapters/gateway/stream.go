package gateway

import (
	"errors"
	"io"
	"net/http"

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// answerStream passes an answer on while it comes. Its end is held back until the call is charged: the last bytes of a
// known length, or the end of an unknown one. Until then the caller has no complete answer.
func (c *call) answerStream(res *http.Response) {
	res.Header[headerCharge] = c.payment.amount(c.endpoint.Charge)
	s := &stream{ReadCloser: res.Body, call: c, res: res, left: res.ContentLength}
	s.keeping = c.payment.claim != nil && s.left <= keepMost
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
	s.call.watch.resume(toTake)
	n, err := s.ReadCloser.Read(p)
	s.call.watch.pause(toTake)
	s.keep(p[:n])
	if errors.Is(err, io.EOF) {
		cleanAnswerTrailer(s.res.Trailer) // it has come with the end
	}
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

// broken ends a stream that did not come to its end: it is charged when the caller ended it, and not when the upstream did.
func (s *stream) broken(err error) {
	lost := s.call.claimLost()
	if !lost && s.call.endedByCaller() {
		_ = s.finish(false)
		return
	}
	s.finished = true
	s.forget()
	s.call.cause = err
	if lost {
		s.call.cause, s.call.refusal = errClaimLost, "metering"
	} else {
		s.call.g.metrics.upstreamFailed(s.call, "broken")
	}
	s.call.release()
}

// endedByCaller reports whether an answer that breaks off was ended by the caller: it has hung up, or the body of its request has
// failed, whereupon the transport closes the upstream's connection and every error of that is a consequence. When nobody moves,
// it is for the caller to do so as long as the upstream waits for its body. See docs/decisions/0021.
func (c *call) endedByCaller() bool {
	switch {
	case c.watch.expired():
		return c.body != nil && c.body.left()
	case c.clientGone():
		return true
	}
	return c.brokenOff() != nil
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
		s.forget()
		s.call.status = statusClientGone
	}
	var answer *usage.IdempotentAnswer
	if s.call.payment.claim != nil {
		answer = s.call.answerToKeep(s.res, s.kept, s.keeping)
	}
	err := s.call.charge(s.res.StatusCode, answer)
	s.forget()
	if err != nil {
		s.call.refusal = "metering"
		s.call.release()
	}
	return err
}

// keep collects an answer that is to be kept, as long as it is small enough and the node has memory for it.
func (s *stream) keep(p []byte) {
	if !s.keeping {
		return
	}
	need := len(s.kept) + len(p)
	if need > cap(s.kept) {
		size := min(max(need, 2*cap(s.kept), copySize), keepMost)
		if need > size || !s.call.g.claims.take(size-cap(s.kept)) {
			s.forget()
			return
		}
		s.kept = append(make([]byte, 0, size), s.kept...)
	}
	s.kept = append(s.kept, p...)
}

// forget gives back the memory of what was collected.
func (s *stream) forget() {
	s.call.g.claims.give(cap(s.kept))
	s.keeping, s.kept = false, nil
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
