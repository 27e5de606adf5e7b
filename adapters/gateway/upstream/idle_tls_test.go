//go:build unix

package upstream

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// What comes on an idle connection over TLS is looked at before it serves again: TLS's own business may come late, anything else
// ends it, and no byte of it is the next call's answer.
func TestWhatComesOnAnIdleTLSConnection(t *testing.T) {
	t.Parallel()
	const theirs = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ntheirs"
	for name, tt := range map[string]struct {
		version uint16
		late    func(w *byHand) [][]byte
		again   bool // on the same connection
	}{
		"nothing, 1.2":     {tls.VersionTLS12, func(*byHand) [][]byte { return nil }, true},
		"nothing, 1.3":     {tls.VersionTLS13, func(*byHand) [][]byte { return nil }, true},
		"a session ticket": {tls.VersionTLS13, func(w *byHand) [][]byte { return [][]byte{w.record(isHandshake, ticket)} }, true},
		"tickets": {tls.VersionTLS13, func(w *byHand) [][]byte {
			return [][]byte{w.record(isHandshake, ticket+ticket), w.record(isHandshake, ticket)}
		}, true},
		"a new key":               {tls.VersionTLS13, func(w *byHand) [][]byte { r := w.record(isHandshake, keyUpdate); w.next(); return [][]byte{r} }, true},
		"a warning, 1.2":          {tls.VersionTLS12, func(w *byHand) [][]byte { return [][]byte{w.record(isAlert, userCanceled)} }, true},
		"a warning, 1.3":          {tls.VersionTLS13, func(w *byHand) [][]byte { return [][]byte{w.record(isAlert, userCanceled)} }, true},
		"close_notify, 1.2":       {tls.VersionTLS12, func(w *byHand) [][]byte { return [][]byte{w.record(isAlert, closeNotify)} }, false},
		"close_notify, 1.3":       {tls.VersionTLS13, func(w *byHand) [][]byte { return [][]byte{w.record(isAlert, closeNotify)} }, false},
		"a wish to renegotiate":   {tls.VersionTLS12, func(w *byHand) [][]byte { return [][]byte{w.record(isHandshake, helloRequest)} }, false},
		"an answer, 1.2":          {tls.VersionTLS12, func(w *byHand) [][]byte { return [][]byte{w.record(isData, theirs)} }, false},
		"an answer, 1.3":          {tls.VersionTLS13, func(w *byHand) [][]byte { return [][]byte{w.record(isData, theirs)} }, false},
		"a ticket and an answer":  {tls.VersionTLS13, func(w *byHand) [][]byte { return [][]byte{w.record(isHandshake, ticket), w.record(isData, theirs)} }, false},
		"half a record":           {tls.VersionTLS13, func(w *byHand) [][]byte { return [][]byte{w.record(isData, theirs)[:30]} }, false},
		"a part of its header":    {tls.VersionTLS12, func(w *byHand) [][]byte { return [][]byte{w.record(isData, theirs)[:3]} }, false},
		"a record that is broken": {tls.VersionTLS13, func(w *byHand) [][]byte { w.count++; return [][]byte{w.record(isData, theirs)} }, false},
		"endless warnings": {tls.VersionTLS12, func(w *byHand) (all [][]byte) {
			for range 100 {
				all = append(all, w.record(isAlert, userCanceled))
			}
			return all
		}, false},
	} {
		for when, late := range map[string]bool{"with the answer before": false, "later": true} {
			if !late && strings.Contains(name, "warning") && tt.version == tls.VersionTLS12 {
				continue // crypto/tls reads on behind a warning before it gives what came before: to the standard transport too
			}
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				var w *byHand
				var taken net.Conn
				log, begin, come := &keyLog{}, make(chan struct{}), make(chan int)
				s := serveOver(t, handmade(tt.version, log), func(nc net.Conn, _ *http.Request, _ int) bool {
					switch {
					case taken == nil:
						w, taken = takeOver(nc.(*tls.Conn), log), nc
						answer := w.record(isData, ok("mine"))
						if !late {
							w.send(append([][]byte{answer}, tt.late(w)...)...)
							return true
						}
						w.send(answer)
						<-begin
						records := bytes.Join(tt.late(w), nil)
						w.send(records)
						come <- len(records)
					case taken == nc:
						w.send(w.record(isData, ok("yours")))
					default:
						_, _ = io.WriteString(nc, ok("yours"))
					}
					return true
				})
				tr := newTransport(t)
				if _, body, err := s.call(t, tr, "GET"); body != "mine" || err != nil {
					t.Fatalf("%q, %v", body, err)
				}
				if late {
					kept := tr.idle[s.origin()][0]
					close(begin)
					size := <-come
					eventually(t, "it has come", func() bool { return kept.socket.queued() == size })
				}
				if _, body, err := s.call(t, tr, "POST 1000"); body != "yours" || err != nil {
					t.Errorf("the next call got %q, %v", body, err)
				}
				if n := s.conns.Load(); (n == 1) != tt.again {
					t.Errorf("%d connections", n)
				}
			})
		}
	}
}

// queued is how many bytes can be read at once.
func (s *socket) queued() (n int) {
	_ = s.raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 64<<10), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return max(n, 0)
}
