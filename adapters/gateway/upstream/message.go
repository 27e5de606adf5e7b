package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// mostBody is the largest body of a request that is sent on its caller's goroutine.
const mostBody = 64 << 10

// message is a request as it is sent, whole and in memory before a connection is taken: a caller whose body breaks off has
// never reached the upstream, and the rest of it is one write.
type message struct {
	buf  *[]byte // nil once it is not needed any more
	safe bool
}

// buffers hold messages; one with an uncommonly large header is left to the collector.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

const keepBuffer = mostBody + 16<<10

// newMessage writes a lean request down and reads its body to the end, which it closes.
func newMessage(r *http.Request) (m message, err error) {
	m.buf = buffers.Get().(*[]byte)
	m.safe = safe(r)
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }() // it has been read
	}
	if err = m.head(r); err == nil {
		err = m.body(r)
	}
	if err != nil {
		m.free()
	}
	return m, err
}

// safe reports whether a request may be made again when nobody knows if the upstream has acted on it (RFC 9110 9.2.2). Of what an
// Idempotency-Key means to the upstream nothing is known: that is between the caller and us.
func safe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.ContentLength == 0
	}
	return false
}

// free gives the buffer back, once.
func (m *message) free() {
	if m.buf != nil && cap(*m.buf) <= keepBuffer {
		*m.buf = (*m.buf)[:0]
		buffers.Put(m.buf)
	}
	m.buf = nil
}

// Write implements io.Writer.
func (m *message) Write(p []byte) (int, error) {
	*m.buf = append(*m.buf, p...)
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (m *message) WriteString(s string) (int, error) {
	*m.buf = append(*m.buf, s...)
	return len(s), nil
}

// framed are the fields that are not written as they stand in a header.
var framed = map[string]bool{"Host": true, "User-Agent": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true}

// newlines cannot end a field.
var newlines = strings.NewReplacer("\n", " ", "\r", " ")

// head writes what comes before the body, to the byte as http.Request.Write does.
func (m *message) head(r *http.Request) error {
	host, uri := r.Host, r.URL.RequestURI()
	if host == "" {
		host = r.URL.Host
	}
	if hasControl(uri) {
		return errControl
	}
	agent := "Go-http-client/1.1"
	if sent, has := r.Header["User-Agent"]; has {
		agent = ""
		if len(sent) > 0 {
			agent = strings.Trim(newlines.Replace(sent[0]), " \t")
		}
	}
	b := *m.buf
	b = append(append(append(b, r.Method...), ' '), uri...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	if agent != "" {
		b = append(append(b, "\r\nUser-Agent: "...), agent...)
	}
	if n := r.ContentLength; n > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), n, 10)
	}
	*m.buf = append(b, "\r\n"...)
	if err := r.Header.WriteSubset(m, framed); err != nil {
		return err
	}
	*m.buf = append(*m.buf, "\r\n"...)
	return nil
}

// unsent is the request as it was before its body was read.
func (m *message) unsent(r *http.Request) *http.Request {
	if r.ContentLength == 0 {
		return r
	}
	again := r.WithContext(r.Context())
	again.Body = io.NopCloser(bytes.NewReader((*m.buf)[len(*m.buf)-int(r.ContentLength):]))
	m.buf = nil // it is read until nobody knows when
	return again
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// body reads a body to its end, and to hear of its end: what reads it for the caller may still refuse it there.
func (m *message) body(r *http.Request) error {
	size := int(r.ContentLength)
	if size == 0 {
		return nil
	}
	b := *m.buf
	if room := cap(b) - len(b); room < size+1 {
		b = append(make([]byte, 0, len(b)+size+1), b...) // a byte more than there may be
	}
	*m.buf = b
	got, rest := 0, b[len(b):len(b)+size+1]
	for got <= size {
		n, err := r.Body.Read(rest[got:])
		got += n
		switch {
		case errors.Is(err, io.EOF) && got == size:
			*m.buf = b[:len(b)+size]
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return errTooMuch
}

var (
	errControl = errors.New("a control character in the URL of a call")
	errTooMuch = errors.New("the body is longer than its Content-Length")
)
