package httpkit

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestTheCallersAddressIsTheNearestThatIsNoTrustedProxys(t *testing.T) {
	t.Parallel()
	const peer = "192.0.2.1:999"
	for _, tt := range []struct {
		name    string
		remote  string
		chain   []string
		lastHop bool
		trusted []string
		want    string
		ok      bool
	}{
		{"nobody is believed by default", peer, []string{"203.0.113.9"}, false, nil, "192.0.2.1", true},
		{"a last hop that says nothing", peer, nil, true, nil, "192.0.2.1", true},
		{"a last hop's own entry", peer, []string{"203.0.113.9, 198.51.100.7"}, true, nil, "198.51.100.7", true},
		{"with a port", peer, []string{"198.51.100.7:1234"}, true, nil, "198.51.100.7", true},
		{"IPv6 with a port", peer, []string{"[2001:db8::1]:80"}, true, nil, "2001:db8::1", true},
		{"IPv6 in brackets", peer, []string{"[2001:db8::1]"}, true, nil, "2001:db8::1", true},
		{"IPv4 within IPv6", peer, []string{"::ffff:198.51.100.7"}, true, nil, "198.51.100.7", true},
		{"no address from a last hop", peer, []string{"unknown"}, true, nil, "192.0.2.1", false},
		{"an empty line from a last hop", peer, []string{""}, true, nil, "192.0.2.1", false},
		{"a zone is dropped", "[fe80::1%eth0]:999", nil, false, nil, "fe80::1", true},
		{"a connection without an address", "nonsense", nil, false, nil, "invalid IP", false},
		{"a proxy that is not listed", peer, []string{"203.0.113.9"}, false, []string{"10.0.0.0/8"}, "192.0.2.1", true},
		{"a listed one", peer, []string{"203.0.113.9"}, false, []string{"192.0.2.0/24"}, "203.0.113.9", true},
		{"listed ones in a row", peer, []string{"6.6.6.6, 203.0.113.9, 10.0.0.2"}, false, []string{"192.0.2.0/24", "10.0.0.0/8"}, "203.0.113.9", true},
		{"in lines", peer, []string{"6.6.6.6", "203.0.113.9", "10.0.0.2"}, false, []string{"192.0.2.0/24", "10.0.0.0/8"}, "203.0.113.9", true},
		{"all listed", peer, []string{"10.0.0.3, 10.0.0.2"}, false, []string{"192.0.2.0/24", "10.0.0.0/8"}, "10.0.0.3", true},
		{"no address behind a listed one", peer, []string{"203.0.113.9, x, 10.0.0.2"}, false, []string{"192.0.2.0/24", "10.0.0.0/8"}, "10.0.0.2", false},
		{"nonsense beyond the caller does not matter", peer, []string{"x, 203.0.113.9"}, false, []string{"192.0.2.0/24"}, "203.0.113.9", true},
		{"a last hop before listed ones", "172.16.0.1:1", []string{"203.0.113.9, 10.0.0.2"}, true, []string{"10.0.0.0/8"}, "203.0.113.9", true},
	} {
		p := Proxies{LastHop: tt.lastHop}
		for _, r := range tt.trusted {
			p.Trusted = append(p.Trusted, netip.MustParsePrefix(r))
		}
		got, ok := p.Client(&http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.chain}})
		if got.String() != tt.want || ok != tt.ok {
			t.Errorf("%s: %s, %v; want %s, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestIPv6IsCountedBySubscriber(t *testing.T) {
	t.Parallel()
	for give, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::": "2001:db8:1:2::/64",
	} {
		if got := LimitKey(netip.MustParseAddr(give)); got != want {
			t.Errorf("%s is counted by %s, want %s", give, got, want)
		}
	}
	if got := LimitKey(netip.Addr{}); got == "" {
		t.Error("no address is counted by nothing")
	}
}
