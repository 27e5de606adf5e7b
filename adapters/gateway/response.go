package gateway

import (
	"maps"
	"net/http"
	"time"
)

// out writes the answer to the caller. A caller who takes nothing has the same time-out as an upstream that sends nothing.
// It keeps interim (1xx) answers apart: the proxy clears the header after each of them, and ours must survive that.
type out struct {
	http.ResponseWriter
	timeout time.Duration
	due     time.Time   // the write deadline in force
	begun   bool        // whether the answer itself has come: from then on Header is its header
	interim http.Header // of the interim answer that is being built
	final   bool        // the caller takes no interim answers: HTTP/1.0 has none (RFC 9110 15.2)
}

// Unwrap lets http.ResponseController reach the connection.
func (o *out) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// Header is the answer's header, or before there is one, that of an interim answer.
func (o *out) Header() http.Header {
	if o.begun {
		return o.ResponseWriter.Header()
	}
	if o.interim == nil {
		o.interim = http.Header{}
	}
	return o.interim
}

// WriteHeader sends an interim answer with nothing but its own header, or begins the answer.
func (o *out) WriteHeader(status int) {
	o.extend()
	if status >= 200 || status == http.StatusSwitchingProtocols {
		o.ResponseWriter.WriteHeader(status)
		return
	}
	if o.final || status == http.StatusContinue { // the server says 100 itself, when the body is read
		clear(o.interim)
		return
	}
	h := o.ResponseWriter.Header()
	ours := maps.Clone(h)
	clear(h)
	cleanAnswerTrailer(o.interim)
	maps.Copy(h, o.interim)
	o.ResponseWriter.WriteHeader(status)
	clear(h)
	maps.Copy(h, ours)
}

func (o *out) Write(p []byte) (int, error) {
	o.extend()
	return o.ResponseWriter.Write(p)
}

// extend renews the write deadline. It lies on the connection, where an earlier request may have left one, so every answer
// sets its own; it is renewed only once a good part of it is over, because that costs as much as a short write.
func (o *out) extend() {
	now := time.Now()
	if o.due.Sub(now) > o.timeout-o.timeout/4 {
		return
	}
	o.due = now.Add(o.timeout)
	_ = http.NewResponseController(o.ResponseWriter).SetWriteDeadline(o.due) // only a test's writer has none
}
