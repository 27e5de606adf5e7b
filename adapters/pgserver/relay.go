package pgserver

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// mavenCentral is where the library's archives are published.
const mavenCentral = "https://repo1.maven.org/maven2"

// relay stands between the library, which tells nothing while it fetches and cannot be interrupted, and the repository: it
// tells how far the download is, what went wrong, and ends it with its context.
type relay struct {
	repository string
	told       io.Writer // nil: nobody
	server     *http.Server
	addr       string

	mu     sync.Mutex
	failed error // of the archive
}

func startRelay(ctx context.Context, told io.Writer) (*relay, error) {
	r := &relay{repository: cmp.Or(os.Getenv(RepositoryEnv), mavenCentral), told: told}
	to, err := url.Parse(r.repository)
	if err != nil || to.Host == "" {
		return nil, fmt.Errorf("%s=%s is not the URL of a Maven repository", RepositoryEnv, r.repository)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("watch the download: %w", err)
	}
	r.addr = l.Addr().String()
	quiet := log.New(io.Discard, "", 0) // what it has to say, fail keeps
	r.server = &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: quiet, BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: &httputil.ReverseProxy{
			Rewrite:        func(p *httputil.ProxyRequest) { p.SetURL(to) },
			ModifyResponse: r.watch,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				r.fail(err)
				w.WriteHeader(http.StatusBadGateway)
			},
			ErrorLog: quiet,
		},
	}
	go r.server.Serve(l) //nolint:errcheck // ends with Close
	return r, nil
}

func (r *relay) close() { _ = r.server.Close() }

func (r *relay) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
}

// explain is the library's error, or what the relay knows better.
func (r *relay) explain(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Errorf("from %s: %w", r.repository, cmp.Or(r.failed, err))
}

// watch follows the archive's body; a missing checksum is no failure.
func (r *relay) watch(res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		res.Body = &progress{ReadCloser: res.Body, whole: res.ContentLength, told: r.told, last: time.Now()}
	} else {
		r.fail(fmt.Errorf("%s: %s", res.Request.URL, res.Status))
	}
	return nil
}

const (
	tellEvery = 2 * time.Second
	megabyte  = 1 << 20
)

// progress is a body that tells how much of it was read.
type progress struct {
	io.ReadCloser
	whole, read int64
	told        io.Writer
	last        time.Time
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.read += int64(n)
	if ended := err == io.EOF && p.read > megabyte; p.told != nil && (ended || time.Since(p.last) >= tellEvery) {
		p.last = time.Now()
		if p.whole > 0 {
			_, _ = fmt.Fprintf(p.told, "  %.1f of %.1f MB\n", float64(p.read)/megabyte, float64(p.whole)/megabyte)
		} else {
			_, _ = fmt.Fprintf(p.told, "  %.1f MB\n", float64(p.read)/megabyte)
		}
	}
	return n, err
}
