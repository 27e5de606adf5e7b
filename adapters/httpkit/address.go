package httpkit

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies says whose word on a caller's address is believed. The zero value believes nobody: the caller is who connects.
type Proxies struct {
	// Trusted are the addresses of proxies. What one of them adds to X-Forwarded-For is believed, and what a proxy among
	// them heard from the next in turn.
	Trusted []netip.Prefix
	// LastHop says that whoever connects is a proxy, so that the last entry is believed.
	LastHop bool
}

// Client returns the caller's address: the nearest one on the way here that is not a trusted proxy's. Everything beyond it
// anybody can write. With ok false there is a malformed entry where the address should be; the address is then that of
// the proxy who passed it on, and invalid when the connection itself has none.
func (p Proxies) Client(r *http.Request) (a netip.Addr, ok bool) {
	a, ok = parseAddr(r.RemoteAddr)
	if !ok || !p.LastHop && len(p.Trusted) == 0 {
		return a, ok
	}
	lines := r.Header["X-Forwarded-For"]
	trusted := p.LastHop
	for i := len(lines) - 1; i >= 0; i-- {
		for entries := lines[i]; ; {
			if !trusted && !p.trusts(a) {
				return a, true
			}
			trusted = false
			at := strings.LastIndexByte(entries, ',')
			next, ok := parseAddr(strings.TrimSpace(entries[at+1:]))
			if !ok {
				return a, false
			}
			a = next
			if at < 0 {
				break
			}
			entries = entries[:at]
		}
	}
	return a, true
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.Trusted, func(r netip.Prefix) bool { return r.Contains(a) })
}

// parseAddr reads an address with or without a port, as some proxies write it.
func parseAddr(text string) (netip.Addr, bool) {
	withPort, err := netip.ParseAddrPort(text) // as connections have it: an error would cost every request
	a := withPort.Addr()
	if err != nil {
		if a, err = netip.ParseAddr(strings.Trim(text, "[]")); err != nil {
			return netip.Addr{}, false
		}
	}
	return a.Unmap().WithZone(""), true
}

// one subscriber's share of IPv6: whoever has one address there has all of them (RFC 6177).
const subscriberBits = 64

// LimitKey is what requests from an address are counted by: the address, and of IPv6 its /64.
func LimitKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(subscriberBits); err == nil {
			return p.String()
		}
	}
	return a.String()
}
