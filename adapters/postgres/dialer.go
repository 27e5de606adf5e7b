package postgres

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// cancelGrace is how long after its context's end an operation may go on, so that the server can end it in order.
const cancelGrace = 500 * time.Millisecond

// dialer dials one connection for lib/pq. What lib/pq dials with it later are requests to cancel what runs on that
// connection: its one sign, for all operations alike, that a context has ended. After the grace the connection ends, and
// with it the operation.
type dialer struct {
	onSilence func() // hears of a grace that was not enough

	mu     sync.Mutex
	socket *socket     // the last one dialed before it was open; that one stays
	open   bool        // lib/pq has its connection
	gaveUp bool        // before it was open
	closed bool        // by the pool: nothing runs on it
	grace  *time.Timer // since the first request to cancel
}

// DialContext implements pq.DialerContext.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.toCancel() {
		return dialToCancel(ctx, network, address)
	}
	c, err := tcpDialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: c}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.socket = s
	if d.gaveUp {
		s.end()
	}
	return s, nil
}

// toCancel reports whether the connection is open already, and then starts the grace.
func (d *dialer) toCancel() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open && d.grace == nil {
		d.grace = time.AfterFunc(cancelGrace, d.graceOver)
	}
	return d.open
}

// graceOver ends a connection that the pool has not dropped yet: its operation has not returned.
func (d *dialer) graceOver() {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if !closed {
		d.socket.end()
		d.onSilence()
	}
}

// giveUp ends a connection that is being made.
func (d *dialer) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gaveUp = true
	if d.socket != nil {
		d.socket.end()
	}
}

// opened says that the connection is made.
func (d *dialer) opened() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = true
}

// intact reports that no operation was ever cut short.
func (d *dialer) intact() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.grace == nil && !d.socket.ended()
}

// close says that nothing runs on the connection any more.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.grace != nil {
		d.grace.Stop()
	}
}

// Dial implements pq.Dialer, which lib/pq asks for and does not use beside DialContext.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout implements pq.Dialer.
func (d *dialer) DialTimeout(network, address string, most time.Duration) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.Background(), most)
	defer stop()
	return d.DialContext(ctx, network, address)
}

// dialToCancel dials a connection that lasts as long as the grace, whatever lib/pq asks for.
func dialToCancel(ctx context.Context, network, address string) (net.Conn, error) {
	until := time.Now().Add(cancelGrace)
	ctx, stop := context.WithDeadline(ctx, until)
	defer stop()
	c, err := tcpDialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(until); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return fixedDeadline{c}, nil
}

type fixedDeadline struct{ net.Conn }

func (fixedDeadline) SetDeadline(time.Time) error { return nil }
