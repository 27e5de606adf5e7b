package httpkit

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	lingerTime = time.Second // for the rest of a body, after its answer
	lingerMost = 64 << 10    // bytes of it
)

// AnswerFirst lets an answer go out while the request's body is still to come. Otherwise net/http reads what is left of the
// body before the answer, and a caller who announces one and sends none gets none. Call it before the answer, and EndBody after.
func AnswerFirst(w http.ResponseWriter) {
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 has it anyway
}

// EndBody sends what has been answered and then reads what is left of the request's body, within a second and 64 kB, so that the
// connection can serve another request. When that was not its end, the server closes the connection: what follows must not be
// taken for a request. Call it last in a handler, with the body that the server gave; nothing may set a read deadline after it.
func EndBody(w http.ResponseWriter, body io.Reader) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(lingerTime)) // also ends a read that another goroutine has begun
	_ = conn.Flush()
	if _, err := io.CopyN(io.Discard, body, lingerMost); errors.Is(err, io.EOF) {
		return
	}
	closeAfterAnswer(w)
	DropBody(w, body)
}

// DropBody makes every read of the request's body end at once, now and when the server closes it. It is for a handler that
// panics, to abort its answer: net/http would otherwise wait for the body.
func DropBody(w http.ResponseWriter, body io.Reader) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	_, _ = body.Read(make([]byte, 1)) // waits for a read that another goroutine is in
}

// closeAfterAnswer makes net/http close the connection after this request although the answer's header, which could have said
// so, is on its way: what it does for a body over a limit of http.MaxBytesReader.
func closeAfterAnswer(w http.ResponseWriter) {
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = inner.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("-")), 0).Read(make([]byte, 1))
}
