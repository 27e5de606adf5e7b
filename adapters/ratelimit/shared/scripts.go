package shared

import (
	_ "embed"
	"errors"
	"strconv"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/CalloraOrg/callora-backend/ports"
)

var (
	//go:embed take.lua
	takeText string
	//go:embed return.lua
	returnText string
	//go:embed beat.lua
	beatText string

	// They are asked for by their digest; a store that does not know it, as after its start, is sent the text once.
	takeScript, returnScript, beatScript = valkey.NewLuaScript(takeText), valkey.NewLuaScript(returnText), valkey.NewLuaScript(beatText)
)

var errAnswer = errors.New("the rate limits' store has given an answer that is none")

// pace is a limit in nanoseconds, as ratelimit.Limiter has it.
type pace struct{ step, burst, window int64 }

func paceOf(limit int, window time.Duration) pace {
	step := max(int64(window)/int64(limit), 1)
	return pace{step: step, burst: step * int64(limit), window: int64(window)}
}

func (p pace) takeArgs() []string { return []string{text(p.step), text(p.burst), text(p.window)} }

// decision reads take.lua's answer.
func (p pace) decision(limit int, answer valkey.ValkeyResult) (ports.Decision, error) {
	a, err := answer.AsIntSlice()
	if err != nil {
		return ports.Decision{}, err
	}
	if len(a) != 3 {
		return ports.Decision{}, errAnswer
	}
	d := ports.Decision{Allowed: a[0] == 1, Limit: limit, Reset: time.Duration(a[1]), RetryAfter: time.Duration(a[2])}
	if d.Allowed {
		d.Remaining = int((p.burst - a[1]) / p.step)
	}
	return d, nil
}

func text(n int64) string { return strconv.FormatInt(n, 10) }
