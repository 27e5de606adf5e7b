package api_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	backend "github.com/CalloraOrg/callora-backend"
	"github.com/CalloraOrg/callora-backend/app/health"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

var errBroken = errors.New("broken")

func TestHealthIsTheSumOfItsChecks(t *testing.T) {
	t.Parallel()
	const rest = `,"service":"callora-backend","status":"%","timestamp":"2026-05-28T12:00:00Z","version":"1.2.3"}`
	for _, tc := range []struct {
		checks         []health.Check
		code           int
		status, detail string
	}{
		{[]health.Check{check("database", true, nil)}, 200, "ok", `"database":"ok"`},
		{[]health.Check{check("database", true, nil), check("horizon", false, errBroken)}, 200, "degraded", `"database":"ok","horizon":"down"`},
		{[]health.Check{check("database", true, errBroken)}, 503, "down", `"database":"down"`},
	} {
		w := newWorld(t, func(w *world) { w.checks = tc.checks })
		want := `{"checks":{"api":"ok",` + tc.detail + `}` + strings.Replace(rest, "%", tc.status, 1)
		if a := w.as(t, id.ID{}, "GET", "/api/health", ""); a.Code != tc.code || strings.TrimSpace(a.Body.String()) != want {
			t.Errorf("got  %d %swant %d %s", a.Code, a.Body, tc.code, want)
		}
	}
}

func TestTheSpecIsServedAsItWasWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if a := w.as(t, id.ID{}, "GET", "/api/openapi.yaml", ""); a.Code != 200 || !bytes.Equal(a.Body.Bytes(), backend.OpenAPI) {
		t.Errorf("%d, %d bytes", a.Code, a.Body.Len())
	}
}
