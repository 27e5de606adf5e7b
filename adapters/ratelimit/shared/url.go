package shared

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Store is where the limits are kept.
type Store struct {
	network, address   string
	tls                *tls.Config
	username, password string
	db                 int
}

// errURL says what is accepted, and does not repeat what was given: there may be a password in it.
var errURL = errors.New("must look like redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/socket?db=0")

// ParseURL reads redis://, rediss:// (TLS) and unix:// addresses, and valkey:// and valkeys://, which are other names of the first two.
// User, password, port and number of the database may be left out.
func ParseURL(address string) (Store, error) {
	u, err := url.Parse(address)
	if err != nil || u.Fragment != "" || u.Opaque != "" {
		return Store{}, errURL
	}
	var s Store
	s.username = u.User.Username()
	s.password, _ = u.User.Password()
	number := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "valkey", "rediss", "valkeys":
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || u.Hostname() == "" || u.RawQuery != "" {
			return Store{}, errURL
		}
		s.network, s.address = "tcp", net.JoinHostPort(u.Hostname(), port)
		if u.Scheme == "rediss" || u.Scheme == "valkeys" {
			s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		}
	case "unix":
		q := u.Query()
		number = q.Get("db")
		q.Del("db")
		if u.Host != "" || len(u.Path) < 2 || len(q) > 0 {
			return Store{}, errURL
		}
		s.network, s.address = "unix", u.Path
	default:
		return Store{}, errURL
	}
	if number != "" {
		if s.db, err = strconv.Atoi(number); err != nil || s.db < 0 {
			return Store{}, errURL
		}
	}
	return s, nil
}

// String is where the store is, without what opens it.
func (s Store) String() string { return s.address + ", database " + strconv.Itoa(s.db) }

// GoString hides the password from %#v.
func (s Store) GoString() string { return s.String() }

// Password is what must never be logged.
func (s Store) Password() string { return s.password }
