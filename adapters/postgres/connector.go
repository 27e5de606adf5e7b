package postgres

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// What has no context, or one that never ends, has these bounds.
const (
	endTimeout   = 30 * time.Second       // a commit may wait for a slow disk
	closeTimeout = 500 * time.Millisecond // to say goodbye to a connection or a statement
	doubtTimeout = 250 * time.Millisecond // to hear that a connection still works
)

// connector opens lib/pq connections on which every wait ends with its context. lib/pq alone asks the server to cancel
// and goes on reading, which never ends when the network has fallen silent.
type connector struct {
	config     pq.Config
	session    string        // SQL that sets each connection's parameters
	endTimeout time.Duration // the bound of BEGIN, COMMIT and ROLLBACK

	// doubts counts the connections that were found silent. Those of the pool from before a doubt prove themselves before
	// their next use: a failed network leaves all of them dead, and each would cost a caller its deadline.
	doubts atomic.Int64
}

// Connect implements driver.Connector. Name look-up, dial, TLS, authentication and the session's settings take
// ConnectTimeout at most.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	ours, cancel := context.WithTimeout(ctx, c.config.ConnectTimeout)
	defer cancel()
	d := &dialer{onSilence: func() { c.doubts.Add(1) }}
	inner, err := pq.NewConnectorConfig(c.config)
	if err != nil {
		return nil, err
	}
	inner.Dialer(d)
	stop := context.AfterFunc(ours, d.giveUp)
	defer stop()
	made, err := inner.Connect(ours)
	if err != nil {
		return nil, err
	}
	given, ok := made.(pqConn)
	if !ok {
		return nil, fmt.Errorf("this lib/pq has another kind of connection: %T", made)
	}
	d.opened()
	opened := &conn{pqConn: given, dialer: d, pool: c, doubts: c.doubts.Load()}
	if _, err := given.ExecContext(context.Background(), c.session, nil); err != nil {
		_ = opened.Close() // it has only the same to say
		return nil, fmt.Errorf("set the connection's parameters: %w", err)
	}
	if !stop() {
		_ = opened.Close()
		return nil, cmp.Or(ctx.Err(), error(&net.OpError{Op: "connect", Net: "tcp", Err: errSilent{}}))
	}
	return opened, nil
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// pqConn is all that lib/pq's connections can do with a context.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// conn is a lib/pq connection. Queries, their open rows, pings and preparations end by way of its dialer; the rest here.
type conn struct {
	pqConn
	dialer *dialer
	pool   *connector
	doubts int64 // of the pool, when the connection proved itself last
}

// BeginTx implements driver.ConnBeginTx. lib/pq minds ctx from the answer to BEGIN until the end of the transaction.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (begun driver.Tx, err error) {
	stop := context.AfterFunc(ctx, c.dialer.socket.end)
	defer stop()
	err = c.dialer.socket.within(c.pool.endTimeout, func() error {
		begun, err = c.pqConn.BeginTx(ctx, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tx{begun, c}, nil
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.pqConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if given, ok := s.(pqStmt); ok {
		return stmt{given, c}, nil
	}
	return s, nil // COPY, which knows no contexts
}

// IsValid implements driver.Validator. A connection on which something was cancelled is given up: the cancellation may
// still be under way, and would strike what runs next.
func (c *conn) IsValid() bool { return c.dialer.intact() && c.pqConn.IsValid() }

// ResetSession implements driver.SessionResetter.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.IsValid() {
		return driver.ErrBadConn
	}
	if doubts := c.pool.doubts.Load(); doubts != c.doubts {
		if c.dialer.socket.within(doubtTimeout, func() error { return c.pqConn.Ping(context.Background()) }) != nil || !c.IsValid() {
			return driver.ErrBadConn
		}
		c.doubts = doubts
	}
	return c.pqConn.ResetSession(ctx)
}

// Close implements driver.Conn.
func (c *conn) Close() error {
	c.dialer.close()
	_ = c.dialer.socket.SetDeadline(time.Now().Add(closeTimeout)) // it fails when lib/pq has closed it
	return c.pqConn.Close()
}

// tx ends in bounded time even where its context never does.
type tx struct {
	driver.Tx
	on *conn
}

func (t tx) Commit() error { return t.on.dialer.socket.within(t.on.pool.endTimeout, t.Tx.Commit) }

func (t tx) Rollback() error { return t.on.dialer.socket.within(t.on.pool.endTimeout, t.Tx.Rollback) }

type pqStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// stmt is a prepared statement; database/sql closes it without a context, also when it closes an idle connection.
type stmt struct {
	pqStmt
	on *conn
}

func (s stmt) Close() error {
	if !s.on.IsValid() {
		return driver.ErrBadConn
	}
	return s.on.dialer.socket.within(closeTimeout, s.pqStmt.Close)
}
