package dbtest

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy stands between a program and its server, and can make the network between them fall silent: bytes vanish, also
// the end of a connection, and none is refused.
type Proxy struct {
	listener net.Listener
	url      url.URL
	running  sync.WaitGroup

	mu     sync.Mutex
	server string // host and port
	silent bool
	ended  bool
	links  []*link
	text   []byte // when the program sends it, silence falls; the server still hears it if heard
	heard  bool
	fallen chan struct{}
}

// link is a connection through the proxy, with both its ends.
type link struct {
	program, server net.Conn
	dead            bool // silent for good
}

// NewProxy starts a proxy for the server of the URL address. It ends with the test.
func NewProxy(t testing.TB, address string) *Proxy {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, url: *u, server: u.Host}
	p.url.Host = l.Addr().String()
	p.running.Go(p.accept)
	t.Cleanup(p.end)
	return p
}

// URL is the address of the database by way of the proxy.
func (p *Proxy) URL() string { return p.url.String() }

// Silence makes all bytes vanish, those of new connections too.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

// SilenceAt does so as soon as the program sends text, which the server still hears, but nobody its answer, when heard is
// set. The channel is closed when it has happened.
func (p *Proxy) SilenceAt(text string, heard bool) (fallen <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.heard, p.fallen = []byte(text), heard, make(chan struct{})
	return p.fallen
}

// Heal lets new connections through, to the server of the URL address. Those of before stay silent for good.
func (p *Proxy) Heal(t testing.TB, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent, p.server = false, u.Host
	for _, l := range p.links {
		l.dead = true
	}
}

func (p *Proxy) accept() {
	for {
		program, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		address := p.server
		p.mu.Unlock()
		server, err := net.Dial("tcp", address)
		if err != nil {
			_ = program.Close()
			continue
		}
		l := &link{program: program, server: server}
		p.mu.Lock()
		p.links = append(p.links, l)
		if p.ended {
			l.close()
		}
		p.mu.Unlock()
		p.running.Go(func() { p.pass(l, program, server) })
		p.running.Go(func() { p.pass(l, server, program) })
	}
}

func (p *Proxy) pass(l *link, from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		pass := p.passes(l, buf[:n], from == l.program)
		if err == nil && pass {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			if pass {
				l.close()
			}
			return
		}
	}
}

func (p *Proxy) passes(l *link, b []byte, fromProgram bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fromProgram && p.text != nil && bytes.Contains(b, p.text) {
		p.silent, p.text = true, nil
		close(p.fallen)
		return p.heard
	}
	return !p.silent && !l.dead
}

func (p *Proxy) end() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.ended = true
	for _, l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (l *link) close() {
	_ = l.program.Close()
	_ = l.server.Close()
}
