package upstream

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// generations are the standard transport, made anew again and again: it has no bound on how long a connection is used. The calls
// of a former one go on; its connections end with them.
type generations struct {
	mu      sync.Mutex
	present *http.Transport
	former  *http.Transport
	until   time.Time
}

// standard is the standard transport of the moment.
func (t *Transport) standard() *http.Transport {
	t.prepare()
	now := time.Now()
	t.others.mu.Lock()
	defer t.others.mu.Unlock()
	o := &t.others
	if o.present != nil && (t.LiveFor <= 0 || now.Before(o.until)) {
		return o.present
	}
	if o.former != nil {
		o.former.CloseIdleConnections() // what was in use when it was replaced, and has become idle since
	}
	if o.present != nil {
		o.present.CloseIdleConnections()
	}
	o.former, o.present, o.until = o.present, t.Other.Clone(), now.Add(spread(t.LiveFor))
	return o.present
}

func (o *generations) closeIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range []*http.Transport{o.former, o.present} {
		if t != nil {
			t.CloseIdleConnections()
		}
	}
}

// spread is a time of four to six fifths of d, so that connections made together do not end together.
func spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d*4/5 + rand.N(d*2/5+1)
}

// other makes a call with the standard transport.
//
// An answer of HTTP/2 may have trailers beside a length. HTTP/1.1, by which it goes on, has no place for them there: it is given
// without its length.
func (t *Transport) other(r *http.Request) (*http.Response, error) {
	res, err := t.standard().RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if r.Context().Err() != nil {
		_ = res.Body.Close() // nobody waits for it
		return nil, context.Cause(r.Context())
	}
	if res.ProtoMajor == 2 && len(res.Trailer) > 0 && res.ContentLength > 0 && r.Method != http.MethodHead {
		res.Header.Del("Content-Length")
		res.ContentLength = -1
	}
	if res.StatusCode != http.StatusSwitchingProtocols && res.Body != http.NoBody {
		res.Body = &timely{res.Body, r.Context()}
	}
	return res, nil
}

// timely is a body of the standard transport. When its call has ended nothing more of it counts: the transport says farewell in
// TLS, and what an upstream answers to that looks like the end of its answer.
type timely struct {
	io.ReadCloser
	ctx context.Context // the call's
}

// Read implements io.Reader.
func (t *timely) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if t.ctx.Err() != nil {
		return 0, context.Cause(t.ctx)
	}
	return n, err
}
