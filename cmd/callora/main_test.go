package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// say runs a command line in this process.
func say(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, console{out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestHelpTellsEveryCommandAndFlag(t *testing.T) {
	code, out, _ := say(t, "--help")
	for _, cmd := range commands() {
		if !strings.Contains(out, "  "+cmd.name) {
			t.Errorf("the overview does not know %s", cmd.name)
		}
	}
	if code != 0 {
		t.Errorf("help ends with %d", code)
	}
	for name, wants := range map[string][]string{
		"serve":   {"Usage: callora serve", "--migrate", "DATABASE_URL", "SIGTERM"},
		"migrate": {"Usage: callora migrate up|down|status|version", "--all", "--force"},
		"demo":    {"Usage: callora demo", "--port N", "--data DIR", "--json"},
		"seed":    {"Usage: callora seed", "--force", "--upstream URL"},
		"audit":   {"Usage: callora audit", "Exit code"},
		"version": {"Usage: callora version"},
	} {
		for _, args := range [][]string{{name, "--help"}, {name, "-h"}, {"help", name}} {
			code, out, errs := say(t, args...)
			if code != 0 || errs != "" {
				t.Errorf("%v: code %d, %s", args, code, errs)
			}
			for _, want := range wants {
				if !strings.Contains(out, want) {
					t.Errorf("%v does not say %q:\n%s", args, want, out)
				}
			}
		}
	}
}

func TestTheVersionIsToldInBothWays(t *testing.T) {
	want, err := db.Wanted()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"version", "--version", "-version"} {
		code, out, errs := say(t, arg)
		if code != 0 || errs != "" || !strings.HasPrefix(out, "callora ") || !strings.HasSuffix(out, fmt.Sprintf(", schema %d\n", want)) || want < 4 {
			t.Errorf("%s: code %d, %q, %q", arg, code, out, errs)
		}
	}
}

func TestAWrongCommandLineSaysWhatIsRight(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "Usage: callora <command>"},
		{[]string{"server"}, `there is no command "server"`},
		{[]string{"help", "server"}, `there is no command "server"`},
		{[]string{"serve", "--prot", "1"}, "flag provided but not defined: -prot"},
		{[]string{"serve", "now"}, `does not take "now"`},
		{[]string{"migrate"}, "needs one of up, down, status, version"},
		{[]string{"migrate", "sideways"}, `does not know "sideways"`},
		{[]string{"demo", "--port", "70000"}, "--port must be between 0 and 65535"},
		{[]string{"seed", "--upstream", "localhost"}, "--upstream must be a URL"},
		{[]string{"audit", "all"}, `does not take "all"`},
	} {
		code, out, errs := say(t, tc.args...)
		if code != 2 || out != "" || !strings.Contains(errs, tc.want) || !strings.Contains(errs, "Usage:") {
			t.Errorf("%v: code %d, stdout %q, stderr %q", tc.args, code, out, errs)
		}
	}
}

func TestFlagsMayStandBehindArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("APP_ENV", "production")
	t.Setenv("DATABASE_URL", "postgres://me@127.0.0.1:1/none?sslmode=disable")
	if code, _, errs := say(t, "migrate", "down"); code != 1 || !strings.Contains(errs, "--force") {
		t.Errorf("down in production: code %d, %s", code, errs)
	}
	if code, _, errs := say(t, "migrate", "down", "--force"); code != 1 || !strings.Contains(errs, "cannot reach the database at 127.0.0.1:1") {
		t.Errorf("code %d, %s", code, errs)
	}
	if code, _, errs := say(t, "seed"); code != 1 || !strings.Contains(errs, "demo data does not belong there") {
		t.Errorf("seed in production: code %d, %s", code, errs)
	}
}

func TestAnAuditShowsBothSidesAndCountsDrifts(t *testing.T) {
	var out bytes.Buffer
	drifts := printInvariants(&out, []ports.Invariant{
		{Name: "usage is paid", LeftName: "usage", Left: money.MustParse("1.5"), RightName: "leases", Right: money.MustParse("1.5")},
		{Name: "held is leased", LeftName: "held", Left: money.MustParse("2"), RightName: "leases", Right: money.MustParse("1")},
		{Name: "errors that cancel out", LeftName: "a", RightName: "b", Offenders: 2, Days: []string{"2026-11-05: 2 rows"}},
	})
	for _, want := range []string{"ok     usage is paid", "usage 1.5000000 = leases 1.5000000", "DRIFT  held is leased", "held 2.0000000 = leases 1.0000000", "(2 rows do not agree)", "on 2026-11-05: 2 rows"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing %q:\n%s", want, out.String())
		}
	}
	if drifts != 2 {
		t.Errorf("%d drifts", drifts)
	}
	out.Reset()
	if printInvariants(&out, []ports.Invariant{{Name: "x"}}) != 0 || !strings.Contains(out.String(), "All 1 invariants hold.") {
		t.Errorf("got %s", out.String())
	}
}
