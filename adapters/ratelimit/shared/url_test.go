package shared

import (
	"fmt"
	"strings"
	"testing"
)

func TestAddressesOfStores(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"redis://cache":                          "tcp cache:6379   0 false",
		"redis://cache:7000/3":                   "tcp cache:7000   3 false",
		"valkey://me:hunter22@cache/":            "tcp cache:6379 me hunter22 0 false",
		"redis://:p%40ss@[::1]:6380":             "tcp [::1]:6380  p@ss 0 false",
		"rediss://me:hunter22@cache.internal/15": "tcp cache.internal:6379 me hunter22 15 true",
		"valkeys://cache":                        "tcp cache:6379   0 true",
		"unix:///run/redis/redis.sock":           "unix /run/redis/redis.sock   0 false",
		"unix://me:hunter22@/run/r.sock?db=2":    "unix /run/r.sock me hunter22 2 false",
	} {
		s, err := ParseURL(address)
		if got := fmt.Sprintf("%s %s %s %s %d %v", s.network, s.address, s.username, s.password, s.db, s.tls != nil); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", address, got, err, want)
		}
		if s.tls != nil && (s.tls.InsecureSkipVerify || s.tls.ServerName != strings.TrimSuffix(s.address, ":6379")) {
			t.Errorf("%s: whose certificate is it?", address)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if strings.Contains(fmt.Sprintf(verb, s), "hunter22") {
				t.Errorf("%s prints the password", verb)
			}
		}
	}
	for _, address := range []string{
		"", "cache:6379", "http://cache", "redis:cache", "redis://", "redis://:6379", "redis://cache:0", "redis://cache:99999", "redis://cache/x",
		"redis://cache/-1", "redis://cache/1/2", "redis://cache?db=1", "rediss://cache?skip_verify=1", "redis://cache#1", "unix://host/run/r.sock",
		"unix://", "unix:///", "unix:///r.sock?db=x", "unix:///r.sock?protocol=2", "redis://me:hunter22@ca che", "redis://me:hunter22@cache:port",
	} {
		if _, err := ParseURL(address); err == nil || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%q: %v", address, err)
		}
	}
}
