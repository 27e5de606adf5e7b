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

// A stop reaches keys that nobody could know of when it was made.
func TestAKeyThatIsIssuedWhileAStopIsNotYetCommittedIsStoppedWithIt(t *testing.T) {
	t.Parallel()
	upstream := endless(t)
	address, key := seeded(t, upstream.URL)
	p := launch(t, fast(address, upstream.Server, "LEASE_IDLE_MS", "60000", "LEASE_TTL_MS", "120000", "DEV_USER_HEADER_FROM", "loopback"), "serve")
	origin, handle := p.listening(t), database(t, address)
	call := func(path, key string, want int) {
		t.Helper()
		if res, body := get(t, origin+"/v1/call/weather"+path, "X-Api-Key", key); res.StatusCode != want {
			t.Fatalf("%s %s, want %d", res.Status, body, want)
		}
	}
	call("/forecast", key, http.StatusOK) // the node has a lease to spend: the stop will have the vault's row locked
	stop := handle.MustBegin()
	defer stop.Rollback() //nolint:errcheck // it is committed below
	stop.MustExec(`UPDATE vaults SET stopped_at = now(), stopped_because = 'it owes 3 USDC' WHERE user_id = $1`, seed.Consumer)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, origin+"/api/apis/weather/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-User-Id", seed.Consumer.String())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s, %v", res.Status, text, err)
	}
	issued := decode[struct{ Key string }](t, string(text)).Key
	for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond; { // until the news of the new key itself is old
		call("/nothing", issued, http.StatusNotFound)
	}
	call("/forecast", issued, http.StatusOK)
	if err := stop.Commit(); err != nil {
		t.Fatal(err)
	}
	for begun, status := time.Now(), 0; status != http.StatusPaymentRequired; {
		res, body := get(t, origin+"/v1/call/weather/forecast", "X-Api-Key", issued)
		if status = res.StatusCode; time.Since(begun) > 2*time.Second {
			t.Fatalf("it still gets %s %s", res.Status, body)
		}
	}
}
