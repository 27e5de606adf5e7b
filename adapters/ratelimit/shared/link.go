package shared

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	connectTimeout = time.Second // to connect (TLS included), and to sign in
	mostWaiting    = 1024        // calls that wait for the store at once; the client's queue has room for four times as many
	queueScale     = 12
	mostFailures   = 3 // in a row; one may be a hiccup of this machine
	buffer         = 32 << 10
)

var (
	errBusy  = errors.New("too many calls wait for the rate limits' store")
	errEnded = errors.New("the connection to the rate limits' store has ended")
	errAway  = errors.New("the rate limits' store is away")
)

// link is one connection to the store, used by all calls at once: what they ask is sent together as it comes. It is not mended; a
// lost one is replaced by the next, in the background.
type link struct {
	client   valkey.Client
	conn     net.Conn
	waiting  atomic.Int64
	failures atomic.Int64
	over     atomic.Bool // it is given up
	lost     chan error  // and what for
}

// connect returns a link when the store has let us in. Connecting and signing in may take a time each.
func connect(ctx context.Context, s Store, within time.Duration) (*link, error) {
	k := &link{lost: make(chan error, 1)}
	var once sync.Once
	stop := func() bool { return true }
	dial := func(context.Context, string, *net.Dialer, *tls.Config) (conn net.Conn, err error) {
		err = errEnded
		once.Do(func() {
			if conn, err = s.dial(ctx, within); err == nil {
				k.conn, stop = conn, context.AfterFunc(ctx, func() { _ = conn.Close() }) // signing in knows no context
			}
		})
		return conn, err
	}
	client, err := valkey.NewClient(valkey.ClientOption{
		InitAddress: []string{s.address}, DialCtxFn: dial, Dialer: net.Dialer{Timeout: within, KeepAlive: -1},
		Username: s.username, Password: s.password, SelectDB: s.db, ClientName: "callora", ClientSetInfo: valkey.DisableClientSetInfo,
		ForceSingleClient: true, AlwaysPipelining: true, PipelineMultiplex: -1, RingScaleEachConn: queueScale,
		DisableRetry: true, DisableCache: true, ReadBufferEachConn: buffer, WriteBufferEachConn: buffer,
	})
	k.client = client
	if err != nil || !stop() {
		k.close()
		return nil, cmp.Or(err, ctx.Err())
	}
	return k, nil
}

func (s Store) dial(ctx context.Context, within time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: within}
	if s.tls != nil {
		return (&tls.Dialer{NetDialer: &d, Config: s.tls}).DialContext(ctx, s.network, s.address)
	}
	return d.DialContext(ctx, s.network, s.address)
}

// do asks the store, and waits for its answer no longer than within. A connection on which several questions in a row get no answer
// is given up.
func (k *link) do(within time.Duration, ask func(context.Context, valkey.Client) error) error {
	defer k.waiting.Add(-1)
	if k.waiting.Add(1) > mostWaiting {
		return errBusy // not the store's failure: it may be as quick as ever
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	err := ask(ctx, k.client)
	if err == nil {
		if k.failures.Load() != 0 {
			k.failures.Store(0)
		}
		return nil
	}
	if k.failures.Add(1) >= mostFailures && k.over.CompareAndSwap(false, true) {
		k.lost <- err
	}
	return err
}

// close ends the connection at once: calls that still wait get an error.
func (k *link) close() {
	if k.conn != nil {
		_ = k.conn.Close()
	}
	if k.client != nil {
		k.client.Close()
	}
}
