// Package upstream is the gateway's way to an upstream: a lean HTTP/1.1 client for the calls that most of them are, in
// front of the standard transport for all others.
package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"
)

// Transport is an http.RoundTripper. A GET or HEAD without a body, over plain HTTP, is written and read on its caller's
// goroutine; the standard transport has two more goroutines for each connection, and handing a call to them and back costs
// about as much as all the rest of a call (docs/decisions/0010). Whatever else there is, TLS, bodies, upgrades, Expect, is Other's.
//
// It follows no redirect, uses no proxy of the environment, and leaves bodies as they are. Of net/http/httptrace it knows
// Got1xxResponse.
type Transport struct {
	Dial           func(ctx context.Context, network, address string) (net.Conn, error)
	Other          *http.Transport
	MaxHeader      int64         // bytes of a response's header, with those of all interim answers
	MaxIdle        int           // connections kept
	MaxIdlePerHost int           // of them, for one host and port
	IdleFor        time.Duration // how long one is kept

	mu   sync.Mutex
	idle map[string][]*conn // by host and port; the one used last is the last
	kept int                // of all hosts
	tidy *time.Timer        // runs while there are any
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !lean(r) {
		return t.Other.RoundTrip(r)
	}
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	if c := t.take(address); c != nil {
		res, err := c.exchange(r)
		if err == nil || c.answered || r.Context().Err() != nil {
			return res, err
		}
		// The upstream hung up as the call came. Asking again is safe for these methods (RFC 9110 9.2.2).
	}
	nc, err := t.Dial(r.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConn(t, address, nc).exchange(r)
}

// CloseIdleConnections closes what is kept for later calls.
func (t *Transport) CloseIdleConnections() {
	t.sweep(0)
	t.Other.CloseIdleConnections()
}

// lean reports whether a call is one of the simple ones.
func lean(r *http.Request) bool {
	if !canTellFresh || r.URL.Scheme != "http" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if r.Body != nil && r.Body != http.NoBody || len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.Close {
		return false
	}
	for i := range len(r.URL.Host) {
		if r.URL.Host[i] >= utf8.RuneSelf { // an international name, to be encoded
			return false
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Expect", "Transfer-Encoding", "Trailer"} {
		if _, has := r.Header[name]; has {
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
