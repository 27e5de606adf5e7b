package egress

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
)

var _ ports.UpstreamCheck = (*Guard)(nil)

func newGuard(t *testing.T, allowed ...string) *Guard {
	t.Helper()
	g, err := NewGuard(allowed)
	if err != nil {
		t.Fatal(err)
	}
	g.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "public.example":
			return []netip.Addr{netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("2606:4700::1")}, nil
		case "mixed.example":
			return []netip.Addr{netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("10.0.0.1")}, nil
		case "mapped.example":
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		}
		return nil, errors.New("no such host")
	}
	return g
}

func TestCheckUpstream(t *testing.T) {
	t.Parallel()
	g := newGuard(t)
	for _, base := range []string{
		"https://public.example", "http://public.example/v1/", "https://public.example:8443/a", "https://93.184.215.14", "http://[2606:4700::1]:8080/",
		"https://nowhere.example/", "HTTPS://PUBLIC.EXAMPLE",
	} {
		if why := g.CheckUpstream(t.Context(), base); why != "" {
			t.Errorf("%s: %s", base, why)
		}
	}
	for base, want := range map[string]string{
		"":                                   "http or https",
		"public.example":                     "http or https",
		"ftp://public.example":               "http or https",
		"file:///etc/passwd":                 "http or https",
		"http://":                            "http or https",
		"http://:80":                         "http or https",
		"http://%zz":                         "http or https",
		"https://u:p@public.example":         "credentials",
		"https://public.example/?a=1":        "credentials",
		"https://public.example/?":           "credentials",
		"https://public.example/#a":          "credentials",
		"https://public.example:0":           "port",
		"https://public.example:99999":       "port",
		"http://localhost":                   "public address",
		"http://LOCALHOST.:80":               "public address",
		"http://a.localhost":                 "public address",
		"http://db.internal":                 "public address",
		"http://printer.local":               "public address",
		"http://127.0.0.1":                   "public address",
		"http://10.1.2.3":                    "public address",
		"http://172.16.0.1":                  "public address",
		"http://192.168.0.1":                 "public address",
		"http://169.254.169.254/latest":      "public address",
		"http://100.64.0.1":                  "public address",
		"http://0.0.0.0":                     "public address",
		"http://224.0.0.1":                   "public address",
		"http://192.0.2.1":                   "public address",
		"http://[::1]":                       "public address",
		"http://[::]":                        "public address",
		"http://[fe80::1%25eth0]":            "public address",
		"http://[fd00::1]":                   "public address",
		"http://[::ffff:127.0.0.1]":          "public address",
		"http://[::ffff:93.184.215.14]":      "public address",
		"http://[64:ff9b::10.0.0.1]":         "public address",
		"http://[2002:7f00:1::]":             "public address",
		"http://mixed.example":               "public address",
		"http://mapped.example":              "public address",
		"http://2130706433":                  "plain IP address",
		"http://0x7f000001":                  "plain IP address",
		"http://0x7f.1":                      "plain IP address",
		"http://127.1":                       "plain IP address",
		"http://017700000001":                "plain IP address",
		"http://99999999999999999999999999/": "plain IP address",
	} {
		why := g.CheckUpstream(t.Context(), base)
		if !strings.Contains(why, want) || why == "" {
			t.Errorf("%s: %q, want something about %s", base, why, want)
		}
	}
}

func TestTheOperatorsExemptions(t *testing.T) {
	t.Parallel()
	g := newGuard(t, "Db.Internal", "localhost:4000", "10.0.0.0/8", "192.168.7.7", "[fd00::7]", " ", "[::1]:80")
	for base, ok := range map[string]bool{
		"http://db.internal": true, "http://db.internal:99": true, "http://other.internal": false, "http://localhost:4000": true, "http://localhost": false,
		"http://10.9.9.9": true, "http://11.0.0.1": true, "http://192.168.7.7:1": true, "http://192.168.7.8": false, "http://[fd00::7]": true,
		"http://[fd00::8]": false, "http://[::1]:80": true, "http://[::1]:81": false, "http://mixed.example": true, "http://[::ffff:10.0.0.1]": true,
	} {
		if why := g.CheckUpstream(t.Context(), base); (why == "") != ok {
			t.Errorf("%s: %q", base, why)
		}
	}
	for _, entry := range []string{"http://x", "a b", "x@y", "*.example", "x?y"} {
		if _, err := NewGuard([]string{entry}); err == nil {
			t.Errorf("%s is taken for a host", entry)
		}
	}
}

func TestDNSThatDoesNotAnswerDoesNotHoldPublishingUp(t *testing.T) {
	t.Parallel()
	g := newGuard(t)
	g.resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if why := g.CheckUpstream(ctx, "https://slow.example"); why != "" {
		t.Error(why)
	}
}
