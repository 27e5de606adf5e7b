package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Bounds of the HTTP server. There is no write time-out and no whole-request time-out: the gateway carries streams of any
// length and sets its own rolling deadlines, and the REST API sets its own for each request.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// gatewayPrefixes are the paths of calls. They are matched on the path as it was sent: a multiplexer would clean it, and the
// gateway must see exactly what the caller asked for.
var gatewayPrefixes = []string{"/v1/call/", "/api/gateway/"}

// dispatch sends a request to the gateway or to the REST API.
func dispatch(rest, gateway http.Handler, calls *inFlight) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		for _, prefix := range gatewayPrefixes {
			if strings.HasPrefix(path, prefix) {
				calls.group.Add(1)
				defer calls.group.Done()
				gateway.ServeHTTP(w, r)
				return
			}
		}
		rest.ServeHTTP(w, r)
	})
}

// inFlight counts calls, so that the charging writer outlives the last of them: a server that cuts connections does not wait
// for their handlers, and never waits for a WebSocket's.
type inFlight struct{ group sync.WaitGroup }

// wait reports whether all calls ended before ctx. No new ones may begin.
func (f *inFlight) wait(ctx context.Context) bool {
	none := make(chan struct{})
	go func() { f.group.Wait(); close(none) }()
	select {
	case <-none:
		return true
	case <-ctx.Done():
		return false
	}
}

// server is the one HTTP server of a process.
type server struct {
	http http.Server
	addr net.Addr // once it is open
	log  *zap.Logger
	done chan struct{} // closed when it accepts no more

	newID   ports.NewID
	refused func(status int) // hears of what the server refuses before any handler
}

func makeServer(h http.Handler, log *zap.Logger, newID ports.NewID, refused func(status int)) (*server, error) {
	errorLog, err := zap.NewStdLogAt(log, zap.WarnLevel)
	if err != nil {
		return nil, err
	}
	return &server{log: log, done: make(chan struct{}), newID: newID, refused: refused, http: http.Server{
		Handler: httpkit.Framing(h), ConnContext: httpkit.ConnContext, ConnState: httpkit.ConnState, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: errorLog,
	}}, nil
}

// listen takes the port.
func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on port %d: another program has it; stop that one, or choose another port (0 takes any free one)", port)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on port %d (0 takes any free one): %w", port, err)
	}
	return l, nil
}

// portIsFree finds out whether the port can be had, before anything is begun that would be in vain. It is not kept: who
// connects before the node serves is refused, and does not wait.
func portIsFree(ctx context.Context, host string, port int) error {
	l, err := listen(ctx, host, port)
	if err != nil {
		return err
	}
	return l.Close()
}

// open starts to serve; when it returns, connections are accepted at addr.
func (s *server) open(ctx context.Context, host string, port int) error {
	l, err := listen(ctx, host, port)
	if err != nil {
		return err
	}
	s.addr = l.Addr()
	go func() {
		defer close(s.done)
		if err := s.http.Serve(httpkit.Listen(l, s.newID, s.refused)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the HTTP server stopped", zap.Error(err))
		}
	}()
	return nil
}

// stop accepts no more connections and waits for requests under way. What is left when most of its time is over is cut.
func (s *server) stop(ctx context.Context) error {
	byThemselves, cancel := partOf(ctx, 0.9)
	defer cancel()
	err := s.http.Shutdown(byThemselves)
	if err != nil {
		s.log.Warn("connections were cut at shutdown", zap.Error(err))
		err = s.http.Close()
	}
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	return err
}
