package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// The example of RFC 6455 1.2.
const (
	nonce    = "dGhlIHNhbXBsZSBub25jZQ=="
	accepted = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func handshake() map[string]string {
	return map[string]string{"Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": nonce}
}

func (h *fixture) upgrade(header map[string]string) (net.Conn, *bufio.Reader) {
	h.t.Helper()
	text := "GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n"
	for name, value := range header {
		text += name + ": " + value + "\r\n"
	}
	return h.raw(text + "\r\n")
}

// switching answers 101 with the given header and hands the connection on; it is closed afterwards.
func switching(t *testing.T, header string, then func(conn net.Conn, in *bufio.Reader)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\n"+header+"\r\n")
		if then != nil {
			then(conn, rw.Reader)
		}
	}
}

const goodAnswer = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accepted + "\r\n"

func TestOnlyAWholeWebSocketHandshakePasses(t *testing.T) {
	t.Parallel()
	h := open(t, func(http.ResponseWriter, *http.Request) { t.Error("it was forwarded") })
	for name, tt := range map[string]struct {
		change func(map[string]string)
		field  string
	}{
		"no version":       {func(m map[string]string) { delete(m, "Sec-WebSocket-Version") }, "header.Sec-WebSocket-Version"},
		"another version":  {func(m map[string]string) { m["Sec-WebSocket-Version"] = "8" }, "header.Sec-WebSocket-Version"},
		"no key":           {func(m map[string]string) { delete(m, "Sec-WebSocket-Key") }, "header.Sec-WebSocket-Key"},
		"a short key":      {func(m map[string]string) { m["Sec-WebSocket-Key"] = "YWJj" }, "header.Sec-WebSocket-Key"},
		"no base64":        {func(m map[string]string) { m["Sec-WebSocket-Key"] = "????????????????????????" }, "header.Sec-WebSocket-Key"},
		"no connection":    {func(m map[string]string) { m["Connection"] = "keep-alive" }, "header.Connection"},
		"two protocols":    {func(m map[string]string) { m["Upgrade"] = "h2c, websocket" }, "header.Upgrade"},
		"a body":           {func(m map[string]string) { m["Content-Length"] = "4" }, "body"},
		"chunks of a body": {func(m map[string]string) { m["Transfer-Encoding"] = "chunked" }, "body"},
	} {
		header := handshake()
		tt.change(header)
		_, in := h.upgrade(header)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		reply{Response: res, body: body}.want(t, 400, "WEBSOCKET_HANDSHAKE")
		if !strings.Contains(string(body), `"field":"`+tt.field+`"`) {
			t.Errorf("%s: %s", name, body)
		}
	}
	for _, line := range []string{"POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x", "GET /v1/call/weather/cheap HTTP/1.0"} {
		_, in := h.raw(line + "\r\nX-Api-Key: " + h.key + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + nonce + "\r\n\r\n")
		if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 400 {
			t.Errorf("%.4s: %v, %v", line, res, err)
		}
	}
	h.wantCharges()
}

// What asks for another protocol is forwarded without that: behind it an upstream would serve anything for one charge.
func TestOtherProtocolsAreIgnored(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	h := open(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	for _, protocol := range []string{"h2c", "TLS/1.0", "HTTP/3.0", "custom", "websocket2", "", "caf\u00e9"} {
		for _, method := range []string{"GET", "POST"} {
			_, in := h.raw(method + " /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nUpgrade: " + protocol +
				"\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%s %s: %v, %v", method, protocol, res, err)
			}
			if got := <-seen; got["Upgrade"] != nil || got["Connection"] != nil || got["Http2-Settings"] != nil {
				t.Errorf("%s %s: the upstream got %v", method, protocol, got)
			}
		}
	}
}

func TestASwitchThatAnswersNoHandshakeIs502AndNotCharged(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer string
		asked  bool
	}{
		"nobody asked":        {goodAnswer, false},
		"nobody asked, other": {"Upgrade: h2c\r\nConnection: Upgrade\r\n", false},
		"no accept":           {"Upgrade: websocket\r\nConnection: Upgrade\r\n", true},
		"a wrong accept":      {strings.Replace(goodAnswer, accepted, nonce, 1), true},
		"two accepts":         {goodAnswer + "Sec-WebSocket-Accept: x\r\n", true},
		"another protocol":    {strings.Replace(goodAnswer, "websocket", "h2c", 1), true},
		"no connection":       {strings.Replace(goodAnswer, "Connection: Upgrade", "X: y", 1), true},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", TLS ", secure), func(t *testing.T) {
				t.Parallel()
				serve := switching(t, tt.answer, nil)
				h := open(t, serve)
				if secure {
					h.overTLS(serve)
				}
				if !tt.asked {
					h.get("/cheap").want(t, 502, "BAD_GATEWAY")
					h.do(h.request("POST", "/cheap", strings.NewReader("x"))).want(t, 502, "BAD_GATEWAY")
				} else {
					_, in := h.upgrade(handshake())
					if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 502 {
						t.Errorf("%v, %v", res, err)
					}
				}
				h.wantCharges()
			})
		}
	}
}

// opened is a WebSocket that has been charged.
func (h *fixture) opened() (net.Conn, *bufio.Reader) {
	h.t.Helper()
	conn, in := h.upgrade(handshake())
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("X-Callora-Charge") != "0.0100000" {
		h.t.Fatalf("%v, %v", res, err)
	}
	return conn, in
}

// wantTunnelEnd waits until no WebSocket is open.
func (h *fixture) wantTunnelEnd(within time.Duration) {
	h.t.Helper()
	start := time.Now()
	eventually(h.t, "the WebSocket ends", func() bool { return len(h.gw.tunnels.all()) == 0 })
	if took := time.Since(start); took > within {
		h.t.Errorf("the WebSocket ended after %s", took)
	}
	h.wantCharges("0.01")
}

func TestAWebSocketEndsWhenOneSideHasGoneAndTheOtherIsSilent(t *testing.T) {
	t.Parallel()
	t.Run("the caller", func(t *testing.T) {
		t.Parallel()
		over := make(chan struct{})
		h := open(t, switching(t, goodAnswer, func(net.Conn, *bufio.Reader) { <-over }), within(200*time.Millisecond))
		defer close(over)
		conn, _ := h.opened()
		_ = conn.(*net.TCPConn).CloseWrite()
		h.wantTunnelEnd(3 * time.Second)
	})
	t.Run("the upstream", func(t *testing.T) {
		t.Parallel()
		over := make(chan struct{})
		h := open(t, switching(t, goodAnswer, func(conn net.Conn, _ *bufio.Reader) {
			_ = conn.(*net.TCPConn).CloseWrite()
			<-over
		}), within(200*time.Millisecond))
		defer close(over)
		h.opened()
		h.wantTunnelEnd(3 * time.Second)
	})
}

func TestAWebSocketLivesWhileTheOtherSideSpeaks(t *testing.T) {
	t.Parallel()
	h := open(t, switching(t, goodAnswer, func(conn net.Conn, in *bufio.Reader) {
		_, _ = io.Copy(io.Discard, in) // to the caller's last byte
		for range 20 {
			wait(t.Context(), 100*time.Millisecond)
			fmt.Fprint(conn, ".")
		}
	}), within(time.Second))
	conn, in := h.opened()
	_ = conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(in); err != nil || string(got) != strings.Repeat(".", 20) {
		t.Errorf("%q, %v", got, err)
	}
	h.wantTunnelEnd(3 * time.Second)
}

// What would refuse a new call ends a WebSocket soon.
func TestAWebSocketEndsSoonAfterItsCallIsNoLongerAllowed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h *fixture) ports.Change{
		"its key is revoked": func(h *fixture) ports.Change {
			h.store.changeKey(h.key, func(k *apikey.Key) { k.RevokedAt = time.Now() })
			return ports.Change{Kind: ports.ChangedKey, Subject: h.key[:apikey.PrefixLength]}
		},
		"its key expires": func(h *fixture) ports.Change {
			h.store.changeKey(h.key, func(k *apikey.Key) { k.ExpiresAt = time.Now().Add(500 * time.Millisecond) })
			return ports.Change{Kind: ports.ChangedKey, Subject: h.key[:apikey.PrefixLength]}
		},
		"its key loses the scope": func(h *fixture) ports.Change {
			h.store.changeKey(h.key, func(k *apikey.Key) { k.Scopes = []string{"GET:/other"} })
			return ports.Change{Kind: ports.ChangedKey, Subject: h.key[:apikey.PrefixLength]}
		},
		"its vault is stopped": func(h *fixture) ports.Change {
			h.store.changeKey(h.key, func(k *apikey.Key) { k.VaultStopped = "it owes money" })
			return ports.Change{Kind: ports.ChangedOwner, Subject: h.owner.String()}
		},
		"its API is unlisted": func(h *fixture) ports.Change {
			h.api.Status = listing.Archived
			h.store.setAPI(h.api)
			return change(h.api.ID)
		},
		"its endpoint is gone": func(h *fixture) ports.Change {
			h.api.Endpoints = []listing.Endpoint{h.api.Endpoints[1]}
			h.store.setAPI(h.api)
			return change(h.api.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, switching(t, goodAnswer, func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) }))
			conn, in := h.opened()
			_ = conn.SetReadDeadline(time.Now().Add(4 * time.Second))
			h.tell(change(h))
			if rest, err := io.ReadAll(in); len(rest) > 0 || isTimeout(err) { // until it is closed
				t.Fatalf("it goes on: %q, %v", rest, err)
			}
			h.wantTunnelEnd(3 * time.Second)
		})
	}
}

func TestAWebSocketLivesWhileItsCallIsAllowed(t *testing.T) {
	t.Parallel()
	h := open(t, switching(t, goodAnswer, func(conn net.Conn, in *bufio.Reader) { _, _ = io.Copy(conn, in) }))
	conn, in := h.opened()
	h.store.set(func(s *fakeStore) { s.away = true })
	h.gw.keys.Forget([]string{h.key[:apikey.PrefixLength]}) // an outage says nothing about the key
	wait(t.Context(), 2*tunnelCheck)
	sends("still here")(conn)
	if got, err := in.Peek(10); string(got) != "still here" {
		t.Errorf("%q, %v", got, err)
	}
	_ = conn.Close()
	h.wantTunnelEnd(3 * time.Second)
}

func TestConnectAndTraceAreNotSold(t *testing.T) {
	t.Parallel()
	h := open(t, func(http.ResponseWriter, *http.Request) { t.Error("it was forwarded") })
	for _, method := range []string{"CONNECT", "TRACE", "trace", "Connect"} {
		for _, path := range []string{"/v1/call/weather/cheap", "/v1/call/weather/anything", "/api/gateway/" + h.api.ID.String()} {
			_, in := h.raw(method + " " + path + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n\r\n")
			res, err := http.ReadResponse(in, &http.Request{Method: "GET"})
			wantRefused(t, res, err, 405, "METHOD_NOT_ALLOWED")
			if res.Header.Get("Allow") == "" {
				t.Errorf("%s: no Allow", method)
			}
		}
	}
	h.wantCharges()
}
