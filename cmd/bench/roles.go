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
	"strings"
)

// The roles in which this program starts itself. Each is a process of its own, as it is in production.
const (
	roleUpstream = "upstream" // what all calls end at
	roleBare     = "bare"     // what calls are compared with: a reverse proxy that does nothing else
)

// play runs a role, if args name one.
func play(args []string) (played bool, err error) {
	switch {
	case len(args) == 3 && args[0] == roleUpstream:
		return true, listen(http.HandlerFunc(upstream), args[1:]...)
	case len(args) == 4 && args[0] == roleBare:
		h, err := bareProxy(args[1], args[2], args[3])
		if err != nil {
			return true, err
		}
		return true, listen(h)
	}
	return false, nil
}

// listen serves at a free port, and with a certificate and its key at another over TLS, until standard input ends. It prints
// the addresses on one line. TLS speaks HTTP/1.1 alone: what HTTP/2 costs is the standard transport's.
func listen(h http.Handler, pair ...string) error {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the parent, who then ends us in order
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = s.Close()
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addrs := []any{l.Addr()}
	ended := make(chan error, 2)
	go func() { ended <- s.Serve(l) }()
	if len(pair) == 2 {
		secure, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs = append(addrs, secure.Addr())
		go func() { ended <- s.ServeTLS(secure, pair[0], pair[1]) }()
	}
	fmt.Println(addrs...)
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const quote = `{"pair":"XLM/USDC","bid":"0.1127","ask":"0.1129","volume":"1840233","at":"2026-01-01T00:00:00.000Z"}`

// answers are the bodies of the shapes' answers, by method and path.
var answers = func() map[string]string {
	all := map[string]string{}
	for _, s := range shapes {
		body := quote
		if s.answer != len(quote) {
			body = text(s.answer)
		}
		all[s.method+s.path] = body
	}
	return all
}()

// upstream answers the shapes, at the end of whatever path. It reads what is sent, and says so when that is not what the
// shape sends.
func upstream(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	body, known := answers[r.Method+r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):]]
	h := w.Header()
	switch {
	case err != nil:
		return
	case !known:
		http.NotFound(w, r)
		return
	case r.Method == postOrder.method && int(n) != len(postOrder.body):
		http.Error(w, "a body of "+strconv.FormatInt(n, 10)+" bytes", http.StatusBadRequest)
		return
	}
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	_, _ = io.WriteString(w, body) // a caller who has left needs no answer
}

// bareProxy is httputil.ReverseProxy as its documentation shows it. Only its idle connections are raised to what the load
// needs: with the standard two it would mostly be dialling.
func bareProxy(plain, secure, conns string) (http.Handler, error) {
	p, err := url.Parse(plain)
	if err != nil {
		return nil, err
	}
	s, err := url.Parse(secure)
	if err != nil {
		return nil, err
	}
	idle, err := strconv.Atoi(conns)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*idle, idle
	return &httputil.ReverseProxy{Transport: t, Rewrite: func(r *httputil.ProxyRequest) {
		if strings.HasPrefix(r.In.URL.Path, securePrefix) {
			r.SetURL(s)
		} else {
			r.SetURL(p)
		}
	}}, nil
}
