package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strconv"
)

// The roles in which this program starts itself. Each is a process of its own, as it is in production.
const (
	roleUpstream = "upstream" // what all calls end at
	roleBare     = "bare"     // what calls are compared with: a reverse proxy that does nothing else
)

// play runs a role, if args name one.
func play(args []string) (played bool, err error) {
	switch {
	case len(args) == 1 && args[0] == roleUpstream:
		return true, listen(http.HandlerFunc(upstream))
	case len(args) == 3 && args[0] == roleBare:
		h, err := bareProxy(args[1], args[2])
		if err != nil {
			return true, err
		}
		return true, listen(h)
	}
	return false, nil
}

// listen serves at a free port, which it prints, until standard input ends.
func listen(h http.Handler) error {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the parent, who then ends us in order
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = s.Close()
	}()
	fmt.Println(l.Addr())
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const quote = `{"pair":"XLM/USDC","bid":"0.1127","ask":"0.1129","volume":"1840233","at":"2026-01-01T00:00:00.000Z"}`

func upstream(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(quote))}
	_, _ = io.WriteString(w, quote) // a caller who has left needs no answer
}

// bareProxy is httputil.ReverseProxy as its documentation shows it. Only its idle connections are raised to what the load
// needs: with the standard two it would mostly be dialling.
func bareProxy(target, conns string) (http.Handler, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	idle, err := strconv.Atoi(conns)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = idle, idle
	return &httputil.ReverseProxy{Transport: t, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}, nil
}
