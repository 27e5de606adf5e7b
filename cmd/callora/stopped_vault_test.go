package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/cmd/callora/seed"
)

// As docs/OPERATIONS.md has it, with a statement.
func TestAVaultThatIsStoppedInTheDatabasePaysForNothingFromThenOn(t *testing.T) {
	t.Parallel()
	upstream := endless(t)
	address, key := seeded(t, upstream.URL)
	p := launch(t, fast(address, upstream.Server), "serve")
	h := hanging{origin: p.listening(t), key: key}
	calls := func(status int, within time.Duration) (body string) {
		t.Helper()
		for begun := time.Now(); ; {
			res, body := get(t, h.origin+"/v1/call/weather/forecast", "X-Api-Key", key)
			if res.StatusCode == status {
				return body
			}
			if time.Since(begun) > within {
				t.Fatalf("still %s %s", res.Status, body)
			}
		}
	}
	stop := func(what string) {
		t.Helper()
		if _, err := database(t, address).Exec(`UPDATE vaults SET `+what+` WHERE user_id = $1`, seed.Consumer); err != nil {
			t.Fatal(err)
		}
	}
	calls(http.StatusOK, 0)
	ws := webSocket(t, h.call(t, "/stream"))
	defer ws.Close()

	stop(`stopped_at = now(), stopped_because = 'it owes 3 USDC'`)
	if body := calls(http.StatusPaymentRequired, 2*time.Second); !strings.Contains(body, `"VAULT_STOPPED"`) || !strings.Contains(body, "the vault is stopped: it owes 3 USDC") {
		t.Error(body)
	}
	begun := time.Now()
	defer time.AfterFunc(patience, func() { _ = ws.Close() }).Stop()
	_, _ = io.Copy(io.Discard, ws)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the WebSocket ended after %v", took)
	}

	stop(`stopped_at = NULL, stopped_because = NULL`)
	calls(http.StatusOK, 2*time.Second)
	p.finish(t)
	nothingHeld(t, database(t, address))
	sound(t, address)
}
