package postgres

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lib/pq"
)

const (
	channel        = "callora_changes"
	reconnectFirst = 50 * time.Millisecond
	reconnectMost  = time.Second
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
	l := pq.NewListener(f.url, reconnectFirst, reconnectMost, func(event pq.ListenerEventType, err error) {
		if err != nil {
			f.OnTrouble(fmt.Errorf("listen for changes: %w", err))
		}
		if event == pq.ListenerEventConnected {
			notify()
		}
	})
	ended := make(chan struct{}, 2)
	go func() {
		for range l.Notify { // nil after a reconnection, when notifications may have been lost
			notify()
		}
		ended <- struct{}{}
	}()
	go func() { // Listen waits for the first connection; it may come before or after the event of it
		if err := l.Listen(channel); err != nil && !errors.Is(err, net.ErrClosed) {
			f.OnTrouble(fmt.Errorf("listen for changes: %w", err))
		}
		notify()
		ended <- struct{}{}
	}()
	return wake, func() {
		_ = l.Close() // it has only "already closed" to say
		<-ended
		<-ended
	}
}
