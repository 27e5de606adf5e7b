package gateway

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// keepMost is the size up to which an answer is kept for an Idempotency-Key.
const keepMost = 256 << 10

// answerStream passes an answer on while it comes. Its end is held back until the call is charged: the last bytes of a
// known length, or the end of an unknown one. Until then the caller has no complete answer.
func (c *call) answerStream(res *http.Response) {
	res.Header[headerCharge] = c.price()
	s := &stream{ReadCloser: res.Body, call: c, res: res, left: res.ContentLength}
	s.keeping = c.once != nil && !c.free
	res.Body = s
	c.begin(res.StatusCode)
}

// stream is the body of an answer that is charged at its end.
type stream struct {
	io.ReadCloser
	call    *call
	res     *http.Response
	left    int64 // bytes of a known length still to come; negative: unknown
	keeping bool
	kept    []byte
	settled bool
}

var errEndsUncharged = errors.New("the end of the answer is withheld: it could not be charged")

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.call.moved()
	s.keep(p[:n])
	if s.left > 0 {
		s.left -= int64(n)
	}
	switch {
	case s.settled:
	case errors.Is(err, io.EOF), s.left == 0:
		if s.settle(true) != nil {
			return 0, errEndsUncharged
		}
	case err != nil:
		s.broken(err)
	}
	return n, err
}

// broken ends a stream that the upstream did not finish: no charge, unless it is the caller who left.
func (s *stream) broken(err error) {
	if s.call.clientGone() && !s.call.watch.barked() {
		_ = s.settle(false)
		return
	}
	s.settled = true
	s.call.cause = err
	s.call.g.metrics.upstreamFailed(s.call, "broken")
	s.call.release()
}

// Close of a stream that has not ended means that the caller did not take the rest. It was served what it took.
func (s *stream) Close() error {
	if !s.settled {
		_ = s.settle(false)
	}
	s.call.untimed()
	return s.ReadCloser.Close()
}

func (s *stream) settle(whole bool) error {
	s.settled = true
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

// untimed lifts the write deadline, which would outlive the call on its connection.
func (c *call) untimed() { _ = http.NewResponseController(c.w).SetWriteDeadline(time.Time{}) }

// moved notes progress of an answer, and gives the caller the same time again to take what comes next.
func (c *call) moved() {
	c.watch.progress()
	_ = http.NewResponseController(c.w).SetWriteDeadline(c.g.deps.Now().Add(c.g.cfg.ProxyTimeout))
}
