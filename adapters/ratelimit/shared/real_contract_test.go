//go:build redis

package shared

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// A real server's clock cannot be set. Moving all that it has counted into the past comes to the same.
const agesText = `
local function age(key, by)
  local s, n = string.match(redis.call('GET', key), '^(%d+)%.(%d+)$')
  local at = tonumber(n) - by % 1e9
  local value = string.format('%d.%09d', tonumber(s) - math.floor(by / 1e9) + math.floor(at / 1e9), at % 1e9)
  redis.call('SET', key, value, 'KEEPTTL')
end
for _, key in ipairs(redis.call('KEYS', '*:limit:*')) do age(key, tonumber(ARGV[1])) end
return 0`

func (r *real) advance(t *testing.T, n *node, by time.Duration) {
	t.Helper()
	c := n.link.Load().client
	if err := c.Do(t.Context(), c.B().Eval().Script(agesText).Numkeys(0).Arg(text(int64(by))).Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

func TestNodesOnARealStoreKeepTheContractTogether(t *testing.T) {
	t.Parallel()
	portstest.LimiterContract(t, func(t *testing.T) portstest.LimiterWorld {
		r := startReal(t)
		a, b := start(t, r.url()), start(t, r.url())
		t.Cleanup(func() {
			if n := a.metric(t, "ratelimit_fallback_total", "") + b.metric(t, "ratelimit_fallback_total", ""); n != 0 {
				t.Errorf("%v decisions are not the store's", n)
			}
		})
		began := time.Now()
		return portstest.LimiterWorld{
			Limiter: a, Other: b, Advance: func(d time.Duration) { r.advance(t, a, d) }, Passed: func() time.Duration { return time.Since(began) },
		}
	})
}

// The script is given its clock here: its numbers are those of the server's Lua, to the nanosecond.
func TestARealStoresNumbersAreExact(t *testing.T) {
	t.Parallel()
	r := startReal(t)
	n := start(t, r.url())
	c := n.link.Load().client
	const asked = "redis.call('TIME')"
	if strings.Count(takeText, asked) != 1 {
		t.Fatal("the script does not ask for the time once")
	}
	const kept = ", 'PX', math.ceil(next / 1e6)" // the server's own clock would forget the key
	if strings.Count(takeText, kept) != 1 {
		t.Fatal("the script does not set an end once")
	}
	script := strings.NewReplacer(asked, "{ARGV[4], ARGV[5]}", kept, "").Replace(takeText)
	for _, limit := range []int{1, 7, 599, 999_983, 100_000_007, 1<<31 - 1} {
		for _, window := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
			p, key := paceOf(limit, window), fmt.Sprint(limit, window)
			seconds, micros, level := int64(1_800_000_000), int64(999_999), int64(0)
			for i := range 20 {
				args := append(p.takeArgs(), text(seconds), text(micros))
				d, err := p.decision(limit, c.Do(t.Context(), c.B().Eval().Script(script).Numkeys(1).Key(key).Arg(args...).Build()))
				if err != nil {
					t.Fatal(err)
				}
				admitted := level+p.step <= p.burst
				if admitted {
					level += p.step
				}
				if d.Allowed != admitted || int64(d.Reset) != level {
					t.Fatalf("%d per %v, event %d: %+v, want %v and a reset of %d ns", limit, window, i, d, admitted, level)
				}
				seconds, micros = seconds+(micros+1)/1_000_000, (micros+1)%1_000_000
				level = max(level-1000, 0)
			}
		}
	}
}
