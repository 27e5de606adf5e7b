// Package upstream is the gateway's way to an upstream: a lean HTTP/1.1 client for the calls that most of them are, in
// front of the standard transport for all others.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Transport is an http.RoundTripper. A request without a body, or with one that has come, is written and its answer read on its
// caller's goroutine, over HTTP/1.1 with or without TLS; the standard transport has two more goroutines for each connection, and
// handing a call to them and back costs about as much as all the rest of a call (docs/decisions/0010, 0031). Whatever else there is,
// bodies that are still to come or of unknown length, upgrades, Expect, upstreams that prefer HTTP/2, is the standard transport's.
//
// It follows no redirect, uses no proxy of the environment, and leaves bodies as they are. TLS is as Other is configured. Of
// net/http/httptrace it knows Got1xxResponse.
type Transport struct {
	Dial           func(ctx context.Context, network, address string) (net.Conn, error)
	Other          *http.Transport            // what the standard transport is made of, when the first call comes
	BodyHasCome    func(r *http.Request) bool // whether reading a body of known length waits for nobody; nil: it may
	MaxHeader      int64                      // bytes of a response's header, with those of all interim answers
	MaxIdle        int                        // connections kept
	MaxIdlePerHost int                        // of them, for one host and port
	IdleFor        time.Duration              // how long one is kept
	LiveFor        time.Duration              // how long one is used, more or less a fifth, so that a changed address is followed; 0: as long as it lasts

	mu   sync.Mutex
	idle map[origin][]*conn // the one used last is the last
	kept int                // of all hosts
	tidy *time.Timer        // runs while there are any

	prepared sync.Once
	tls      *tls.Config // our own, but for the name
	others   generations
	http2    preferences
}

// origin is an upstream as connections to it are kept.
type origin struct {
	secure  bool
	address string // host and port
}

func originOf(u *url.URL) origin {
	o := origin{secure: u.Scheme == "https", address: u.Host}
	if u.Port() == "" {
		port := "80"
		if o.secure {
			port = "443"
		}
		o.address = net.JoinHostPort(u.Hostname(), port)
	}
	return o
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !lean(r) || r.ContentLength > 0 && (t.BodyHasCome == nil || !t.BodyHasCome(r)) {
		return t.other(r)
	}
	to := originOf(r.URL)
	if to.secure && t.http2.has(to, time.Now()) {
		return t.overHTTP2(to, r)
	}
	m, err := newMessage(r)
	if err != nil {
		return nil, cause(r, err)
	}
	defer m.free()
	if c := t.take(to); c != nil {
		res, err := c.exchange(r, &m)
		if err == nil || !c.mayRepeat(r, &m) {
			return res, err
		}
	}
	c, err := t.dial(r.Context(), to)
	switch {
	case errors.Is(err, errHTTP2):
		return t.overHTTP2(to, m.unsent(r))
	case err != nil:
		return nil, err
	}
	return c.exchange(r, &m)
}

// overHTTP2 makes a call to an upstream that prefers HTTP/2, and learns when it does so no longer.
func (t *Transport) overHTTP2(to origin, r *http.Request) (*http.Response, error) {
	res, err := t.other(r)
	switch {
	case err != nil:
	case res.ProtoMajor == 2:
		t.http2.add(to, time.Now())
	default:
		t.http2.remove(to)
	}
	return res, err
}

// mayRepeat reports whether a request that a used connection has failed may be made again on a new one: the upstream hung up as
// it came. Either not a byte of it has been sent, or it is one that may be repeated and has no answer yet.
func (c *conn) mayRepeat(r *http.Request, m *message) bool {
	return r.Context().Err() == nil && (c.untouched || m.safe && !c.answered)
}

// CloseIdleConnections closes what is kept for later calls.
func (t *Transport) CloseIdleConnections() {
	t.sweep(0)
	t.others.closeIdle()
}

// lean reports whether a call is one of the simple ones.
func lean(r *http.Request) bool {
	if !canLook || r.URL.Scheme != "http" && r.URL.Scheme != "https" || r.Method == http.MethodConnect || !isToken(r.Method) {
		return false
	}
	if none := r.Body == nil || r.Body == http.NoBody; none != (r.ContentLength == 0) || r.ContentLength < 0 || r.ContentLength > mostBody {
		return false // of unknown length, or too long
	}
	if len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.Close || r.URL.Host == "" || !isPlainHost(r.URL.Host) || !isPlainHost(r.Host) {
		return false
	}
	for _, name := range []string{"Connection", "Upgrade", "Expect", "Transfer-Encoding", "Trailer"} {
		if _, has := r.Header[name]; has {
			return false
		}
	}
	return true
}

// isToken reports whether a method is written as all known ones are; RFC 9110 9.1 allows more signs than these.
func isToken(method string) bool {
	for i := range len(method) {
		if c := method[i]; c != '-' && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return method != ""
}

// isPlainHost reports whether a host is written as it stands: international names are to be encoded, and zones to be removed.
func isPlainHost(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9', c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}

// The ways in which an upstream's answer can be none, besides those of net/http.
var (
	errHeaderTooLarge = errors.New("the upstream's header is too large")
	errSwitched       = errors.New("the upstream switched protocols without being asked to")
	errClosed         = errors.New("read of a closed body")
)

// cause is the error of a call: why it was cancelled, if it was, and otherwise what went wrong on the connection.
func cause(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return context.Cause(r.Context())
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

var _ interface {
	http.RoundTripper
	CloseIdleConnections()
} = (*Transport)(nil)
