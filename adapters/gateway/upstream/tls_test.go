package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A certificate that cannot be trusted is told as what it is, and nothing is sent to whoever shows it.
func TestACertificateThatCannotBeTrustedIsToldAsSuch(t *testing.T) {
	t.Parallel()
	elsewhere := func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example"} }
	past := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	for name, tt := range map[string]struct {
		leaf tls.Certificate
		want any
		says string
	}{
		"an unknown authority": {bad.leaf(), new(x509.UnknownAuthorityError), "certificate signed by unknown authority"},
		"another host":         {good.leaf(elsewhere), new(x509.HostnameError), "cannot validate certificate for 127.0.0.1"},
		"over":                 {good.leaf(past), new(x509.CertificateInvalidError), "certificate has expired"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := serveOver(t, &tls.Config{Certificates: []tls.Certificate{tt.leaf}, MinVersion: version, MaxVersion: version}, nil)
			tr := newTransport(t)
			for _, rt := range []http.RoundTripper{tr, tr.Other} {
				_, _, err := s.call(t, rt, "POST 1000")
				if err == nil || !errors.As(err, tt.want) || !errors.As(err, new(*tls.CertificateVerificationError)) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s, %T: %v", name, rt, err)
				}
				if _, ours := rt.(*Transport); ours && !strings.Contains(err.Error(), s.Addr().String()) {
					t.Errorf("the error does not say whose certificate it is: %v", err)
				}
			}
			if sent := s.took(); sent != "" {
				t.Errorf("%s: sent %q", name, sent)
			}
		}
	}
}

// The name that is asked for and proven is the URL's, whatever the request's Host says.
func TestTheNameIsTheURLs(t *testing.T) {
	t.Parallel()
	names := make(chan string, 4)
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		names <- hello.ServerName
		leaf := good.leaf()
		return &leaf, nil
	}}
	s := serveOver(t, config, func(nc net.Conn, r *http.Request, _ int) bool {
		if r.Host != "elsewhere.example" {
			t.Errorf("Host %s", r.Host)
		}
		_, _ = io.WriteString(nc, ok("fine"))
		return false
	})
	tr := newTransport(t)
	for _, rt := range []http.RoundTripper{tr, tr.Other} {
		for host, want := range map[string]string{"localhost": "localhost", "127.0.0.1": ""} {
			r := s.request(t, t.Context(), "GET")
			_, port, _ := net.SplitHostPort(r.URL.Host)
			r.URL.Host, r.Host = net.JoinHostPort(host, port), "elsewhere.example"
			if _, body, err := finish(rt.RoundTrip(r)); err != nil || body != "fine" {
				t.Fatal(err)
			}
			if name := <-names; name != want {
				t.Errorf("asked for %q, want %q", name, want)
			}
		}
	}
}

// Kept connections of one name do not serve another, though both lead to the same address.
func TestAConnectionServesTheNameThatItProved(t *testing.T) {
	t.Parallel()
	leaf := good.leaf(func(c *x509.Certificate) { c.IPAddresses = nil })
	s := serveOver(t, &tls.Config{Certificates: []tls.Certificate{leaf}}, func(nc net.Conn, _ *http.Request, _ int) bool {
		_, _ = io.WriteString(nc, ok("fine"))
		return true
	})
	tr := newTransport(t)
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": false} {
		r := s.request(t, t.Context(), "GET")
		_, port, _ := net.SplitHostPort(r.URL.Host)
		r.URL.Host = net.JoinHostPort(host, port)
		if _, _, err := finish(tr.RoundTrip(r)); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
	for host := range tr.idle {
		plain := origin{address: host.address}
		if c := tr.pop(plain); c != nil {
			t.Error("a connection over TLS would serve a call without it")
		}
	}
}

func TestASessionIsResumed(t *testing.T) {
	t.Parallel()
	for way, config := range ways() {
		if config == nil {
			continue
		}
		var resumed []bool
		s := serveOver(t, config, func(nc net.Conn, _ *http.Request, _ int) bool {
			resumed = append(resumed, nc.(*tls.Conn).ConnectionState().DidResume)
			_, _ = io.WriteString(nc, ok("fine"))
			return true
		})
		tr := newTransport(t)
		for range 2 {
			res, _, err := s.call(t, tr, "GET")
			if err != nil || res.TLS == nil || res.TLS.Version != s.version(config) {
				t.Fatalf("%s: %v, %+v", way, err, res)
			}
			tr.CloseIdleConnections()
		}
		if len(resumed) != 2 || resumed[0] || !resumed[1] {
			t.Errorf("%s: resumed %v", way, resumed)
		}
	}
}

func (s *server) version(c *tls.Config) uint16 {
	if c.MaxVersion != 0 {
		return c.MaxVersion
	}
	return tls.VersionTLS13
}

// A connection keeps the parameters that it was opened with: what would be agreed on anew may be another peer's.
func TestAWishToRenegotiateIsRefused(t *testing.T) {
	t.Parallel()
	log := &keyLog{}
	s := serveOver(t, handmade(tls.VersionTLS12, log), func(nc net.Conn, _ *http.Request, _ int) bool {
		w := takeOver(nc.(*tls.Conn), log)
		w.send(w.record(isHandshake, helloRequest), w.record(isData, ok("fine")))
		_, _ = nc.Read(make([]byte, 1))
		return false
	})
	tr := newTransport(t)
	for _, rt := range []http.RoundTripper{tr, tr.Other} {
		if _, _, err := s.call(t, rt, "POST 1000"); err == nil || !strings.Contains(err.Error(), "no renegotiation") {
			t.Errorf("%T: %v", rt, err)
		}
	}
	if n := s.calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
}

// An answer that breaks off is never whole, also without TLS's word for the end.
func TestAnAnswerThatTheNetworkCutsIsNotWhole(t *testing.T) {
	t.Parallel()
	for way, config := range ways() {
		if config == nil {
			continue
		}
		s := serveOver(t, config, func(nc net.Conn, _ *http.Request, _ int) bool {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
			_ = nc.(*tls.Conn).NetConn().Close()
			return false
		})
		tr := newTransport(t)
		for _, rt := range []http.RoundTripper{tr, tr.Other} {
			if _, body, err := s.call(t, rt, "GET"); body != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, %T: %q, %v", way, rt, body, err)
			}
		}
	}
}

// A handshake has its time, and ends with its call.
func TestAHandshakeIsBounded(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	s := &server{Listener: silent, base: "https://" + silent.Addr().String()}
	tr := newTransport(t)
	tr.Other.TLSHandshakeTimeout = 20 * time.Millisecond
	for _, rt := range []http.RoundTripper{tr, tr.Other} {
		_, _, err := s.call(t, rt, "GET")
		if slow, ok := errors.AsType[net.Error](err); !ok || !slow.Timeout() {
			t.Errorf("%T: %v", rt, err)
		}
	}
	tr = newTransport(t)
	reason := errors.New("the caller has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
	if _, err := tr.RoundTrip(s.request(t, ctx, "GET")); !errors.Is(err, reason) {
		t.Errorf("cancelled: %v", err)
	}
}

// A call that is over ends without a word: what an upstream would answer to TLS's would be heard as the answer to the call.
func TestACancelledCallSaysNothingMore(t *testing.T) {
	t.Parallel()
	for way, config := range ways() {
		if config == nil {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		more := make(chan int64, 1)
		s := serveOver(t, config, func(nc net.Conn, _ *http.Request, _ int) bool {
			raw := nc.(*tls.Conn).NetConn().(*hears)
			before := raw.heard.Load()
			cancel()
			_, _ = nc.Read(make([]byte, 1))
			more <- raw.heard.Load() - before
			return false
		})
		if _, err := newTransport(t).RoundTrip(s.request(t, ctx, "POST 1000")); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", way, err)
		}
		if n := <-more; n != 0 {
			t.Errorf("%s: %d bytes more", way, n)
		}
	}
}
