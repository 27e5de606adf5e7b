package config

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Secret is a value that no formatting verb prints.
type Secret string

// String hides the value.
func (Secret) String() string { return "[redacted]" }

// GoString hides the value from %#v.
func (Secret) GoString() string { return "[redacted]" }

// Millis is a duration written as a whole number of milliseconds.
type Millis time.Duration

// UnmarshalText reads the number.
func (m *Millis) UnmarshalText(text []byte) error {
	const most = int64(100 * 365 * 24 * time.Hour / time.Millisecond)
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > most {
		return errors.New("must be a whole number of milliseconds, 0 or more")
	}
	*m = Millis(time.Duration(n) * time.Millisecond)
	return nil
}

// D returns the duration.
func (m Millis) D() time.Duration { return time.Duration(m) }

// Size is a number of bytes written as 512, 100kb, 1mb or 2gb (powers of 1024, in any case).
type Size int64

// UnmarshalText reads the size.
func (s *Size) UnmarshalText(text []byte) error {
	digits, shift := strings.ToLower(string(text)), 0
	for _, u := range []struct {
		name  string
		shift int
	}{{"kb", 10}, {"mb", 20}, {"gb", 30}, {"b", 0}} {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, shift = strings.TrimSpace(rest), u.shift
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 1 || strings.HasPrefix(digits, "+") {
		return errors.New(`must be a size such as "100kb" or "1mb"`)
	}
	*s = Size(n << shift)
	return nil
}

// WebURL is an absolute http or https URL without credentials; the zero value is none.
type WebURL struct{ *url.URL }

// UnmarshalText reads the URL.
func (w *WebURL) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		return errors.New("must be a URL that begins with http:// or https:// and has a host and no user name or password")
	}
	w.URL = u
	return nil
}

// Ranges are addresses and ranges of addresses separated by commas; "loopback" is this machine.
type Ranges []netip.Prefix

// loopback is what the word stands for (RFC 1122 3.2.1.3, RFC 4291 2.5.3).
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// UnmarshalText reads the list.
func (r *Ranges) UnmarshalText(text []byte) error {
	*r = nil
	for s := range strings.SplitSeq(string(text), ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if s == "loopback" {
			*r = append(*r, loopback...)
			continue
		}
		prefix, err := parseRange(s)
		if err != nil {
			return errors.New("must be addresses or ranges separated by commas, such as 10.0.0.0/8,192.0.2.7,loopback")
		}
		*r = append(*r, prefix)
	}
	return nil
}

func parseRange(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err
}
