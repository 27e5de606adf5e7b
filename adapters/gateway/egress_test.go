package gateway

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/CalloraOrg/callora-backend/adapters/egress"
)

func newGuard(t *testing.T, allowed ...string) *egress.Guard {
	t.Helper()
	g, err := egress.NewGuard(allowed)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAWrongAllowedHostStopsTheStart(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{AllowedHosts: []string{"http://x"}}, Deps{}); err == nil {
		t.Error("the gateway starts with it")
	}
}

// fakeDNS answers every question of type A with an address.
func fakeDNS(t *testing.T, addr [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: addr},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// What a name means is judged when it is dialled, however it looked when the API was published.
func TestANameThatMeansAPrivateAddressIsNotCalled(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1)
	h := open(t, func(http.ResponseWriter, *http.Request) { called <- struct{}{} }, allow())
	guard := newGuard(t)
	guard.UseResolver(fakeDNS(t, [4]byte{127, 0, 0, 1}))
	h.gw.proxy.Transport = newEngine(guard, 0)
	_, port, _ := net.SplitHostPort(h.upstream.Listener.Addr().String())
	h.api.BaseURL = "http://rebound.example:" + port
	h.store.setAPI(h.api)
	h.tell(change(h.api.ID))
	got := h.get("/cheap")
	got.want(t, 502, "UPSTREAM_TARGET_BLOCKED")
	if strings.Contains(string(got.body), "127.0.0.1") {
		t.Errorf("%s", got.body)
	}
	h.wantCharges()
	if len(called) != 0 {
		t.Error("the upstream was called")
	}

	// the operator may allow the range, also behind a name
	guard = newGuard(t, "127.0.0.0/8")
	guard.UseResolver(fakeDNS(t, [4]byte{127, 0, 0, 1}))
	h.gw.proxy.Transport = newEngine(guard, 0)
	h.get("/cheap").want(t, 200, "")
	h.wantCharges("0.01")
}
