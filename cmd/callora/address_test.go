package main

import (
	"fmt"
	"testing"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

// Whoever comes without a proof is counted by their own address, of IPv6 by its /64, by the same rule at every door; and
// what they say of it counts only where the configuration trusts who passes it on.
func TestEveryDoorCountsCallersByTheAddressThatIsTrusted(t *testing.T) {
	t.Parallel()
	const neighbour, stranger, other = "2001:db8:1:2::%x", "2001:db8:1:3::1", "192.0.2.7"
	for _, trust := range []struct {
		name, value string
		trusted     bool
	}{{"TRUSTED_PROXIES", "127.0.0.0/8", true}, {"TRUST_PROXY_HEADERS", "true", true}, {"TRUSTED_PROXIES", "10.0.0.0/8", false}} {
		p := launch(t, servingOn(dbtest.URL(t), trust.name, trust.value, "REST_PUBLIC_RATE_LIMIT_MAX_REQUESTS", "2",
			"REST_RATE_LIMIT_MAX_REQUESTS", "2", "GATEWAY_UNKNOWN_KEY_RATE_LIMIT_PER_MINUTE", "2"), "serve")
		origin := p.listening(t)
		for path, answer := range map[string]int{"/api/apis": 200, "/api/keys": 401, "/v1/call/weather/now": 401} {
			from := func(address string, want int) {
				t.Helper()
				guess := apikey.Mark + fmt.Sprintf("%048x", 1)
				if res, body := get(t, origin+path, "X-Forwarded-For", address, "Authorization", "Bearer "+guess); res.StatusCode != want {
					t.Errorf("%s=%s, %s from %s: %s %s, want %d", trust.name, trust.value, path, address, res.Status, body, want)
				}
			}
			from(fmt.Sprintf(neighbour, 1), answer)
			from(fmt.Sprintf(neighbour, 2), answer)
			from(fmt.Sprintf(neighbour, 3), 429)
			for _, address := range []string{stranger, other} {
				if trust.trusted {
					from(address, answer)
				} else {
					from(address, 429)
				}
			}
		}
		p.finish(t)
	}
}
