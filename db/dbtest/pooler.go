package dbtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Pooler stands between programs and a server, and gives each transaction a connection that is free, as PgBouncer does with
// pool_mode = transaction. Each client logs in to a connection of its own, which from then on is everybody's.
type Pooler struct {
	Keep     int  // how many free connections it has at most
	InTurn   bool // hands them out in turn; else the one that was given back last
	Sessions bool // none of this: a client keeps its connection

	mu      sync.Mutex
	changed *sync.Cond
	free    []*pooled
}

type pooled struct {
	net.Conn
	in *bufio.Reader
}

// Before puts the pooler before a database and returns the address.
func (p *Pooler) Before(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.changed = sync.NewCond(&p.mu)
	server := u.Host
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(&pooled{client, bufio.NewReader(client)}, server)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.free {
			_ = s.Close()
		}
	})
	u.Host, u.RawQuery = l.Addr().String(), "sslmode=disable"
	return u.String()
}

func (p *Pooler) serve(client *pooled, address string) {
	defer client.Close()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	server := &pooled{conn, bufio.NewReader(conn)}
	if passMessage(client, server, 0) != nil || answer(server, client) != nil {
		return
	}
	for {
		if !p.Sessions {
			p.give(server)
		}
		if _, err := client.in.Peek(1); err != nil {
			return
		}
		if !p.Sessions {
			server = p.take()
		}
		if ask(client, server) != nil || answer(server, client) != nil {
			return
		}
	}
}

func (p *Pooler) give(s *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == p.Keep {
		_ = s.Close()
		return
	}
	p.free = append(p.free, s)
	p.changed.Broadcast()
}

func (p *Pooler) take() *pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 {
		p.changed.Wait()
	}
	at := len(p.free) - 1
	if p.InTurn {
		at = 0
	}
	s := p.free[at]
	p.free = append(p.free[:at:at], p.free[at+1:]...)
	return s
}

var errLeft = errors.New("the client leaves")

// ask passes the client's messages up to one that the server answers.
func ask(client, server *pooled) error {
	for {
		kind, err := client.in.Peek(1)
		if err != nil {
			return err
		}
		if kind[0] == 'X' {
			return errLeft
		}
		if err := passMessage(client, server, 1); err != nil || kind[0] == 'Q' || kind[0] == 'S' {
			return err
		}
	}
}

// answer passes the server's messages until it is ready, and the client's in a transaction and at the log-in.
func answer(server, client *pooled) error {
	for {
		head, err := server.in.Peek(6)
		if err != nil {
			return err
		}
		kind, state, method := head[0], head[5], byte(0)
		if kind == 'R' {
			if head, err = server.in.Peek(9); err != nil {
				return err
			}
			method = head[8]
		}
		if err := passMessage(server, client, 1); err != nil {
			return err
		}
		switch {
		case kind == 'Z' && state == 'I':
			return nil
		case kind == 'Z':
			err = ask(client, server)
		case method == 5 || method == 10 || method == 11: // MD5, SASL: it wants to hear something
			err = passMessage(client, server, 1)
		}
		if err != nil {
			return err
		}
	}
}

// passMessage passes one message; its length stands behind so many bytes.
func passMessage(from, to *pooled, before int) error {
	head, err := from.in.Peek(before + 4)
	if err != nil {
		return err
	}
	_, err = io.CopyN(to, from.in, int64(before)+int64(binary.BigEndian.Uint32(head[before:])))
	return err
}
