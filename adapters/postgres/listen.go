package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lib/pq"
)

const (
	channel        = "callora_changes"
	reconnectFirst = 50 * time.Millisecond
	reconnectMost  = time.Second
	listenPing     = time.Second     // how often the listening connection is asked for a sign of life
	listenSilent   = 3 * time.Second // without one for so long, it is replaced
)

// listen keeps a connection that waits for notifications, through losses. woken gets a value for one or more of them,
// and for every new connection, since any may have been missed before it. stop ends it and waits for its end.
func (f *ChangeFeed) listen() (woken <-chan struct{}, stop func()) {
	wake := make(chan struct{}, 1)
	notify := func() {
		select {
		case wake <- struct{}{}:
		default: // one look answers any number of notifications
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	lives := &listenDialer{ctx: ctx}
	l := pq.NewDialListener(lives, f.url, reconnectFirst, reconnectMost, func(event pq.ListenerEventType, err error) {
		if err != nil && ctx.Err() == nil {
			f.OnTrouble(fmt.Errorf("listen for changes: %w", err))
		}
		if event == pq.ListenerEventConnected {
			notify()
		}
	})
	var running sync.WaitGroup
	running.Go(func() {
		for range l.Notify { // nil after a reconnection, when notifications may have been lost
			notify()
		}
	})
	running.Go(func() { // Listen waits for the first connection; it may come before or after the event of it
		if err := l.Listen(channel); err != nil && !errors.Is(err, net.ErrClosed) {
			f.OnTrouble(fmt.Errorf("listen for changes: %w", err))
		}
		notify()
	})
	running.Go(func() { lives.keep(l) })
	return wake, func() {
		cancel()
		lives.end()   // lib/pq's Close waits for what is under way
		_ = l.Close() // it has only "already closed" to say
		running.Wait()
	}
}

// listenDialer dials the listening connection. lib/pq waits on it without any bound, so it has a time to live instead,
// that each answer to a ping prolongs.
type listenDialer struct {
	ctx context.Context // dials end with it

	mu     sync.Mutex
	socket *socket
}

// DialContext implements pq.DialerContext.
func (d *listenDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	c, err := tcpDialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := mortal{&socket{Conn: c}}
	if err := s.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.socket = s.socket
	if d.ctx.Err() != nil {
		d.socket.end()
	}
	return s, nil
}

// keep prolongs the life of the present connection as long as it answers.
func (d *listenDialer) keep(l *pq.Listener) {
	tick := time.NewTicker(listenPing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			return
		}
		d.mu.Lock()
		asked := d.socket
		d.mu.Unlock()
		if ping(l) == nil {
			_ = mortal{asked}.SetDeadline(time.Time{}) // it fails when the connection was lost meanwhile
		}
	}
}

// ping turns lib/pq's panic, for a server that answers nothing with an error, into one.
func ping(l *pq.Listener) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("ping: %v", r)
		}
	}()
	return l.Ping()
}

func (d *listenDialer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.socket != nil {
		d.socket.end()
	}
}

// Dial implements pq.Dialer.
func (d *listenDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout implements pq.Dialer.
func (d *listenDialer) DialTimeout(network, address string, most time.Duration) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.Background(), most)
	defer stop()
	return d.DialContext(ctx, network, address)
}

// mortal is a socket that ends after listenSilent where no deadline is wanted.
type mortal struct{ *socket }

func (m mortal) SetDeadline(t time.Time) error {
	if t.IsZero() {
		t = time.Now().Add(listenSilent)
	}
	return m.socket.SetDeadline(t)
}
