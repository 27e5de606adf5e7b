package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// gate is an upstream whose answers wait until the test lets them go.
type gate struct {
	*httptest.Server
	arrived, open chan struct{}
}

func newGate(t *testing.T) *gate {
	g := &gate{arrived: make(chan struct{}, 100), open: make(chan struct{})}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.arrived <- struct{}{}
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(g.Close)
	return g
}

// refusedConnection waits until nothing accepts connections at an origin any more.
func refusedConnection(t *testing.T, origin string) {
	t.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return
		}
		c.Close()
	}
	t.Fatal("connections are still accepted")
}

func TestSIGTERMDrainsACallInFlight(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"durable", "async"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			upstream := newGate(t)
			address, key := seeded(t, upstream.URL)
			host := strings.TrimPrefix(upstream.URL, "http://")
			p := launch(t, servingOn(address, "UPSTREAM_HOST_ALLOWLIST", host, "METERING_MODE", mode, "METERING_ASYNC_FLUSH_MS", "5000"), "serve")
			origin := p.listening(t)
			status := make(chan string, 1)
			go func() {
				req, err := http.NewRequest(http.MethodGet, origin+"/v1/call/weather/forecast", nil)
				if err != nil {
					status <- err.Error()
					return
				}
				req.Header.Set("X-Api-Key", key)
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					status <- err.Error()
					return
				}
				res.Body.Close()
				status <- res.Status
			}()
			<-upstream.arrived
			p.signal(t, syscall.SIGTERM)
			refusedConnection(t, origin)
			close(upstream.open)
			if got := <-status; got != "200 OK" {
				t.Errorf("the call in flight got %s", got)
			}
			if code := p.exit(t); code != 0 {
				t.Errorf("ended with code %d", code)
			}
			var events, open int
			handle := database(t, address)
			if err := handle.Get(&events, `SELECT count(*) FROM usage_events`); err != nil || events != 1 {
				t.Errorf("%d usage events, %v", events, err)
			}
			if err := handle.Get(&open, `SELECT count(*) FROM leases WHERE state = 'open'`); err != nil || open != 0 {
				t.Errorf("%d leases were kept, %v", open, err)
			}
			audit := launch(t, map[string]string{"DATABASE_URL": address}, "audit")
			if code := audit.exit(t); code != 0 || !strings.Contains(audit.stdout.text(), "invariants hold.") {
				t.Errorf("audit: code %d\n%s", code, audit.stdout.text())
			}
			if _, err := handle.Exec(`UPDATE vaults SET held = held + 1`); err != nil {
				t.Fatal(err)
			}
			audit = launch(t, map[string]string{"DATABASE_URL": address}, "audit")
			if code := audit.exit(t); code != 1 || !strings.Contains(audit.stdout.text(), "DRIFT") {
				t.Errorf("audit of a drift: code %d\n%s", code, audit.stdout.text())
			}
		})
	}
}

func TestACallThatLingersIsCutInTime(t *testing.T) {
	t.Parallel()
	upstream := newGate(t)
	address, key := seeded(t, upstream.URL)
	p := launch(t, servingOn(address, "UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://"), "SHUTDOWN_TIMEOUT_MS", "5000"), "serve")
	origin := p.listening(t)
	hung := make(chan struct{})
	go func() {
		defer close(hung)
		req, _ := http.NewRequest(http.MethodGet, origin+"/v1/call/weather/forecast", nil)
		req.Header.Set("X-Api-Key", key)
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-upstream.arrived
	p.finish(t)
	<-hung
	handle := database(t, address)
	var events, held int
	if err := handle.Get(&events, `SELECT count(*) FROM usage_events`); err != nil || events != 0 {
		t.Errorf("%d usage events, %v", events, err)
	}
	if err := handle.Get(&held, `SELECT sum(held) FROM vaults`); err != nil || held != 0 {
		t.Errorf("%d stroops are held, %v", held, err)
	}
}

func TestASecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	upstream := newGate(t)
	address, key := seeded(t, upstream.URL)
	p := launch(t, servingOn(address, "UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://")), "serve")
	origin := p.listening(t)
	go func() {
		req, _ := http.NewRequest(http.MethodGet, origin+"/v1/call/weather/forecast", nil)
		req.Header.Set("X-Api-Key", key)
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-upstream.arrived
	p.signal(t, syscall.SIGTERM)
	refusedConnection(t, origin)
	p.signal(t, syscall.SIGTERM)
	p.exit(t)
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() {
		t.Errorf("ended by itself: %v", p.cmd.ProcessState)
	}
}

// silent is a way to a database that can fall silent: connections stay open, and nothing passes any more.
type silent struct {
	net.Listener
	mute atomic.Bool
}

func silentWay(t *testing.T, address string) (way *silent, through string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	way = &silent{Listener: l}
	server := u.Host
	u.Host = l.Addr().String()
	var open sync.Map
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				near.Close()
				continue
			}
			open.Store(near, nil)
			open.Store(far, nil)
			go way.pass(near, far)
			go way.pass(far, near)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	})
	return way, u.String()
}

func (s *silent) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if s.mute.Load() {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// Whatever hangs when a node stops, it ends in time, says which part hung, and has stored every charge that could be stored.
func TestANodeEndsInTimeWhateverHangs(t *testing.T) {
	t.Parallel()
	const within = 10 * time.Second
	for _, tc := range []struct {
		name string
		hang func(t *testing.T, h hanging)
		code int
		says string // in the log
		kept int    // events stored
	}{
		{name: "a call", code: 0, says: "connections were cut at shutdown", kept: 1,
			hang: func(t *testing.T, h hanging) {
				go func() {
					if res, err := http.DefaultClient.Do(h.call(t, "/stream")); err == nil {
						_, _ = io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				}()
				<-h.arrived
			}},
		{name: "a tunnel", code: 0, says: `"part":"calls"`, kept: 2,
			hang: func(t *testing.T, h hanging) {
				ws := webSocket(t, h.call(t, "/stream"))
				t.Cleanup(func() { _ = ws.Close() })
			}},
		{name: "a pass", code: 0, says: "a pass took too long at the end and was broken off", kept: 1,
			hang: func(t *testing.T, h hanging) {
				tx, err := database(t, h.address).Beginx()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = tx.Rollback() })
				if _, err := tx.Exec(`LOCK TABLE idempotency IN ACCESS EXCLUSIVE MODE`); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				for waits := false; !waits; {
					if err := tx.GetContext(ctx, &waits, `SELECT count(*) > 0 FROM pg_locks, pg_sleep(0.01)
						WHERE NOT granted AND relation = 'idempotency'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
						t.Fatalf("no pass came: %v", err)
					}
				}
			}},
		{name: "the database", code: 1, says: `"part":"charging"`, kept: 0,
			hang: func(_ *testing.T, h hanging) { h.way.mute.Store(true) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			upstream := endless(t)
			address, key := seeded(t, upstream.URL)
			way, through := silentWay(t, address)
			p := launch(t, servingOn(through, "UPSTREAM_HOST_ALLOWLIST", strings.TrimPrefix(upstream.URL, "http://"), "SHUTDOWN_TIMEOUT_MS", "10000",
				"METERING_MODE", "async", "METERING_ASYNC_FLUSH_MS", "60000", "SWEEP_INTERVAL_MS", "10"), "serve")
			h := hanging{origin: p.listening(t), key: key, address: address, way: way, arrived: upstream.arrived}
			res, err := http.DefaultClient.Do(h.call(t, "/forecast"))
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%v, %v", res, err)
			}
			res.Body.Close()
			tc.hang(t, h)
			start := time.Now()
			p.signal(t, syscall.SIGTERM)
			code := p.exit(t)
			if took := time.Since(start); took > within+5*time.Second {
				t.Errorf("took %v", took)
			}
			if log := p.stderr.text(); code != tc.code || !strings.Contains(log, tc.says) {
				t.Errorf("code %d, want %d and a line with %s", code, tc.code, tc.says)
			}
			var events, open int
			handle := database(t, address)
			if err := handle.Get(&events, `SELECT count(*) FROM usage_events`); err != nil || events != tc.kept {
				t.Errorf("%d usage events, want %d, %v", events, tc.kept, err)
			}
			if err := handle.Get(&open, `SELECT count(*) FROM leases WHERE state = 'open'`); err != nil || tc.code == 0 && open != 0 {
				t.Errorf("%d leases were kept, %v", open, err)
			}
		})
	}
}

// hanging is a node in front of an upstream that never ends, and a database that can fall silent.
type hanging struct {
	origin, key, address string
	way                  *silent
	arrived              chan struct{}
}

func (h hanging) call(t *testing.T, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, h.origin+"/v1/call/weather"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", h.key)
	return req
}

// webSocket makes a WebSocket of a call.
func webSocket(t *testing.T, req *http.Request) io.ReadCloser {
	t.Helper()
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the WebSocket: %v, %v", res, err)
	}
	return res.Body
}

// endless is an upstream whose /stream never begins its answer, and never ends a tunnel.
func endless(t *testing.T) *gate {
	g := &gate{arrived: make(chan struct{}, 100), open: make(chan struct{})}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasSuffix(r.URL.Path, "/stream"):
		case r.Header.Get("Upgrade") != "":
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
			_, _ = io.Copy(io.Discard, rw)
		default:
			g.arrived <- struct{}{}
			<-g.open
		}
	}))
	t.Cleanup(func() { close(g.open); g.CloseClientConnections(); g.Close() })
	return g
}

func TestAHangUpIsACleanEndUnlessTheProcessShallOutliveItsTerminal(t *testing.T) {
	t.Parallel()
	if signal.Ignored(syscall.SIGHUP) { // as under nohup; what is launched would ignore it too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	environ := servingOn(dbtest.URL(t))
	p := launch(t, environ, "serve")
	p.listening(t)
	p.signal(t, syscall.SIGHUP)
	if code := p.exit(t); code != 0 || !strings.Contains(p.stderr.text(), `"msg":"stopped"`) {
		t.Errorf("ended with code %d", code)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p = launchProgram(t, t.TempDir(), environ, "/bin/sh", "-c", `trap "" HUP; exec "$0" serve`, path)
	origin := p.listening(t)
	p.signal(t, syscall.SIGHUP)
	if res, _ := get(t, origin+"/api/health"); res.StatusCode != http.StatusOK {
		t.Errorf("after a hang-up it does not want to hear: %s", res.Status)
	}
	p.finish(t)
}
