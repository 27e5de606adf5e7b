package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// forward makes a call and answers it as httputil.ReverseProxy does, for which every call is any call: it clones the request, whose
// header we clean, and copies the answer, whose header we clean too. Here each header is gone through once, and a small answer is written
// as it was read. All but upgrades come this way; both pass the same tests (docs/decisions/0033).
func (c *call) forward(engine http.RoundTripper) {
	if c.body != nil {
		defer c.body.close() // who still reads it must not after this
	}
	out := c.outgoing()
	res, err := engine.RoundTrip(out)
	c.interims.end()
	if err == nil {
		dropHopByHop(res.Header)
		if err = c.answered(res); err != nil {
			_ = res.Body.Close() // the answer is given up
		}
	}
	if err != nil {
		c.failed(err)
		return
	}
	c.send(res)
}

// outgoing is the request to the upstream.
func (c *call) outgoing() *http.Request {
	in := c.r
	out := &http.Request{
		Method: in.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, URL: new(url.URL), Header: endToEnd(in.Header),
		ContentLength: in.ContentLength, TransferEncoding: in.TransferEncoding,
	}
	if in.ContentLength != 0 && c.body != nil {
		out.Body = notClosed{c.body}
	}
	c.address(out)
	if _, has := out.Header["User-Agent"]; !has {
		out.Header["User-Agent"] = none // or Go's client says its own
	}
	c.trace.Got1xxResponse = c.interim
	return out.WithContext(httptrace.WithClientTrace((*callContext)(c), &c.trace))
}

var none = []string{""}

// notClosed is a body that its reader does not close: it is the caller's connection, which endBody knows how to leave.
type notClosed struct{ io.Reader }

// Close implements io.Closer.
func (notClosed) Close() error { return nil }

// endToEnd copies a request's header without its hop-by-hop fields (RFC 9110 7.6.1). That trailers are welcome is passed on.
func endToEnd(h http.Header) http.Header {
	out := make(http.Header, len(h)+2)
	for name, values := range h {
		if !hopByHop(name) {
			out[name] = values
		}
	}
	dropNamed(out, h["Connection"])
	if hasToken(h["Te"], "trailers") {
		out["Te"] = []string{"trailers"}
	}
	return out
}

// dropHopByHop removes an answer's hop-by-hop fields.
func dropHopByHop(h http.Header) {
	dropNamed(h, h["Connection"])
	for name := range h {
		if hopByHop(name) {
			delete(h, name)
		}
	}
}

func dropNamed(h http.Header, connection []string) {
	for _, list := range connection {
		for name := range strings.SplitSeq(list, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
}

func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// interims lets interim answers pass until the answer has come: the standard transport tells of them from a goroutine of its own.
type interims struct {
	mu    sync.Mutex
	ended bool
}

func (i *interims) end() {
	i.mu.Lock()
	i.ended = true
	i.mu.Unlock()
}

// interim passes an interim (1xx) answer on.
func (c *call) interim(code int, header textproto.MIMEHeader) error {
	c.interims.mu.Lock()
	defer c.interims.mu.Unlock()
	if !c.interims.ended {
		h := c.out.Header()
		for name, values := range header {
			h[name] = values
		}
		c.out.WriteHeader(code)
		clear(h)
	}
	return nil
}

// send passes an answer on. Its header has been cleaned, and its body charges for the call at its end or has been paid for.
func (c *call) send(res *http.Response) {
	h := c.w.Header()
	for name, values := range res.Header {
		if mine, has := h[name]; has {
			values = slices.Concat(mine, values)
		}
		h[name] = values
	}
	announced := len(res.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		h["Trailer"] = append(h["Trailer"], strings.Join(names, ", "))
	}
	c.out.WriteHeader(res.StatusCode)
	if err := c.sendBody(res); err != nil {
		_ = res.Body.Close() // tells that the caller did not take the rest
		panic(http.ErrAbortHandler)
	}
	_ = res.Body.Close() // the trailer is there
	if len(res.Trailer) > 0 {
		c.flush() // so that a short body is not given a length, which would leave no room for a trailer
	}
	prefix := ""
	if len(res.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range res.Trailer {
		h[prefix+name] = append(h[prefix+name], values...)
	}
}

// sendBody copies the body, and whatever may be a stream as it comes.
func (c *call) sendBody(res *http.Response) error {
	if whole, ok := res.Body.(*pooled); ok {
		_, err := whole.WriteTo(&c.out)
		return err
	}
	if res.Body == http.NoBody {
		return nil
	}
	flush := res.ContentLength == -1 || isEventStream(res.Header)
	if flush {
		c.flush()
	}
	buf := bufferOf(copySize)
	defer buf.free()
	for {
		n, err := res.Body.Read(buf.bytes)
		if n > 0 {
			if _, err := c.out.Write(buf.bytes[:n]); err != nil {
				return err
			}
			if flush {
				c.flush()
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// flush sends what is written. That the caller has left is for the next write to say.
func (c *call) flush() { _ = http.NewResponseController(&c.out).Flush() }

// isEventStream reports whether an answer is one of server-sent events (WHATWG HTML 9.2).
func isEventStream(h http.Header) bool {
	for _, v := range h["Content-Type"] {
		if base, _, _ := mime.ParseMediaType(v); base == "text/event-stream" {
			return true
		}
	}
	return false
}
