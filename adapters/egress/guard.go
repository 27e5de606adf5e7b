package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// DialTimeout bounds a connection attempt.
const DialTimeout = 10 * time.Second

// resolveTimeout bounds the look at a name that somebody publishes.
const resolveTimeout = time.Second

// Guard keeps the backend from being used to reach private networks. It judges the address that is dialled, after the
// name was resolved, so that a name cannot change its meaning in between. Loopback, private, link-local, shared (CGNAT),
// metadata, multicast, IPv4-mapped and translated addresses are refused, see the IANA special-purpose registries.
type Guard struct {
	safe    *ssrf.Guardian
	exempt  hostList
	dialer  net.Dialer
	free    net.Dialer
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// hostList is a set of hosts: names with or without a port, addresses and address ranges.
type hostList struct {
	names    map[string]bool // "host" or "host:port", lower case
	prefixes []netip.Prefix
}

// NewGuard returns a guard that lets the named hosts pass: "host", "host:port", an address or a CIDR range.
func NewGuard(allowedHosts []string) (*Guard, error) {
	g := &Guard{
		safe:   ssrf.New(ssrf.WithAnyPort(), ssrf.WithNetworks("tcp4", "tcp6")),
		exempt: hostList{names: map[string]bool{}},
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
	}
	for _, h := range allowedHosts {
		if err := g.exempt.add(h); err != nil {
			return nil, err
		}
	}
	g.dialer = net.Dialer{Timeout: DialTimeout, Control: g.control}
	g.free = net.Dialer{Timeout: DialTimeout}
	return g, nil
}

// UseResolver makes the guard resolve names with r, at dials and when it checks a name.
func (g *Guard) UseResolver(r *net.Resolver) {
	g.dialer.Resolver, g.free.Resolver = r, r
	g.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) { return r.LookupNetIP(ctx, "ip", host) }
}

func (l *hostList) add(entry string) error {
	entry = strings.ToLower(strings.TrimSpace(entry))
	if entry == "" {
		return nil
	}
	if p, err := netip.ParsePrefix(entry); err == nil {
		l.prefixes = append(l.prefixes, p.Masked())
		return nil
	}
	if a, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
		l.prefixes = append(l.prefixes, netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	if strings.ContainsAny(entry, "/ @*?#") {
		return fmt.Errorf("upstream host %q is not a host, host:port, address or CIDR range", entry)
	}
	l.names[entry] = true
	return nil
}

func (l *hostList) has(host, port string) bool {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if l.names[host] || l.names[net.JoinHostPort(host, port)] {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && l.hasAddr(a)
}

func (l *hostList) hasAddr(a netip.Addr) bool {
	for _, p := range l.prefixes {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// DialContext dials like net.Dialer, past the guard.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && g.exempt.has(host, port) {
		return g.free.DialContext(ctx, network, address)
	}
	return g.dialer.DialContext(ctx, network, address)
}

// control judges the address that is about to be dialled.
func (g *Guard) control(network, address string, c syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err == nil && g.exempt.hasAddr(at.Addr()) {
		return nil
	}
	return g.safe.Safe(network, address, c)
}

// Blocked reports whether a dial was refused by the guard.
func Blocked(err error) bool {
	return errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedPort) ||
		errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort)
}

// CheckUpstream implements ports.UpstreamCheck. A name that does not resolve now is accepted: the dial decides.
func (g *Guard) CheckUpstream(ctx context.Context, base string) string {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "must be an http or https URL such as https://api.example.com/v1"
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "must not contain credentials, a query or a fragment"
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "must have a port between 1 and 65535"
	}
	const private = "must be a public address: private, loopback, link-local and metadata addresses are refused"
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if g.exempt.has(host, port) {
		return ""
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !g.public(a) {
			return private
		}
		return ""
	}
	if numericHost(host) {
		return "must name its host as a domain name or as a plain IP address"
	}
	for _, suffix := range []string{"localhost", "local", "internal", "localdomain", "home.arpa"} {
		if host == suffix || strings.HasSuffix(host, "."+suffix) {
			return private
		}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := g.resolve(ctx, host)
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if !g.public(a) && !g.exempt.hasAddr(a) {
			return private
		}
	}
	return ""
}

func (g *Guard) public(a netip.Addr) bool {
	network := "tcp4"
	if a.Is6() {
		network = "tcp6"
	}
	return g.safe.Safe(network, netip.AddrPortFrom(a, 443).String(), nil) == nil
}

// numericHost reports whether a host is an address in one of the odd forms that some resolvers accept: 2130706433,
// 0x7f.1, 127.1.
func numericHost(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return true
	}
	if _, err := strconv.ParseUint(last, 0, 64); err == nil {
		return true
	}
	return strings.HasPrefix(last, "0x") || strings.Trim(last, "0123456789") == ""
}
