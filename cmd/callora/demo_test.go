package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/CalloraOrg/callora-backend/cmd/callora/demo"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// paidCall makes the demo's paid call and checks what it says it cost.
func paidCall(t *testing.T, r demo.Report) {
	t.Helper()
	res, body := get(t, r.Gateway+"/v1/call/"+r.APISlug+r.PaidPath, "X-Api-Key", r.APIKey)
	if res.StatusCode != 200 || res.Header.Get("X-Callora-Charge") != r.PriceUSDC || !strings.Contains(body, "temperature_c") {
		t.Fatalf("the paid call: %s, charge %q, %s", res.Status, res.Header.Get("X-Callora-Charge"), body)
	}
}

func balance(t *testing.T, r demo.Report) money.Amount {
	t.Helper()
	res, body := get(t, r.API+"/api/vault/balance", "Authorization", "Bearer "+r.ConsumerToken)
	if res.StatusCode != 200 {
		t.Fatalf("balance: %s %s", res.Status, body)
	}
	a, err := money.Parse(decode[struct {
		Balance string `json:"balance_usdc"`
	}](t, body).Balance)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheDemoServesAPaidCallAndStopsCleanly(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, "demo", "--json", "--port", "0")
	r := p.report(t)
	paidCall(t, r)
	if got := balance(t, r); got != money.MustParse("99.99") {
		t.Errorf("the balance is %s", got)
	}
	_, body := get(t, r.API+"/api/usage", "Authorization", "Bearer "+r.ConsumerToken)
	usage := decode[struct {
		Events []struct{ Endpoint, Revenue string }
		Stats  struct{ TotalCalls int }
	}](t, body)
	if usage.Stats.TotalCalls != 1 || len(usage.Events) != 1 || usage.Events[0].Revenue != r.PriceUSDC {
		t.Errorf("usage: %s", body)
	}
	counted := regexp.MustCompile(`http_requests_total\{method="GET",route="/v1/call/[^"]+",route_group="gateway",status_code="200"\} 1\n`)
	if res, body := get(t, r.API+"/api/metrics"); res.StatusCode != 200 || !counted.MatchString(body) {
		t.Errorf("the call is not among the metrics: %s", res.Status)
	}
	if res, body := get(t, r.API+"/api/apis"); res.StatusCode != 200 || strings.Count(body, `"slug"`) != 3 {
		t.Errorf("market: %s %s", res.Status, body)
	}

	p.finish(t)
	if lines := strings.Count(p.stdout.text(), "\n"); lines != 1 {
		t.Errorf("%d lines on stdout", lines)
	}
	if _, err := os.Stat(r.Data); !os.IsNotExist(err) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
	u, err := url.Parse(r.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", u.Host); err == nil {
		c.Close()
		t.Error("PostgreSQL is still there")
	}
	noSecrets(t, p.stderr.text(), r)
}

// noSecrets looks for every secret of a demo, and for what is made of them.
func noSecrets(t *testing.T, log string, r demo.Report) {
	t.Helper()
	if !strings.Contains(log, `"requestId"`) {
		t.Errorf("the log has no line of a request:\n%s", log)
	}
	u, err := url.Parse(r.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	for name, secret := range map[string]string{
		"the API key": r.APIKey, "the consumer's token": r.ConsumerToken, "the developer's token": r.DeveloperToken,
		"the token's signature": r.ConsumerToken[strings.LastIndex(r.ConsumerToken, ".")+1:],
		"the admin key":         r.AdminKey, "the metrics key": r.MetricsKey, "the database's password": password,
	} {
		if secret == "" || strings.Contains(log, secret) {
			t.Errorf("%s is in the log", name)
		}
	}
}

func TestSecretsInRefusedRequestsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	p := launch(t, map[string]string{"LOG_LEVEL": "trace"}, "demo", "--json", "--port", "0")
	r := p.report(t)
	for _, headers := range [][]string{
		{"Authorization", "Bearer " + r.ConsumerToken + "x"}, {"Authorization", "Basic " + r.APIKey},
		{"X-Api-Key", r.APIKey + "0"}, {"X-Request-Id", r.APIKey}, {"X-Request-Id", r.ConsumerToken}, {"User-Agent", r.AdminKey},
	} {
		for _, path := range []string{"/api/keys", "/api/nowhere/" + r.APIKey, "/api/apis?search=" + r.APIKey, "/v1/call/weather/forecast?key=" + r.APIKey, "/v1/call/" + r.APIKey} {
			get(t, r.API+path, headers...)
		}
	}
	paidCall(t, r)
	p.finish(t)
	noSecrets(t, p.stderr.text(), r)
}

func TestThePrintedLinesWorkWhenPasted(t *testing.T) {
	t.Parallel()
	p := launch(t, map[string]string{"UPSTREAM_HOST_ALLOWLIST": "10.1.2.3"}, "demo", "--port", "0") // which takes nothing away
	p.stdout.await(t, "Ctrl-C stops everything.")
	var lines []string
	for line := range strings.Lines(p.stdout.text()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
			lines = append(lines, line)
		}
	}
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "mine: "+r.URL.Path) }))
	t.Cleanup(own.Close)
	wants := [][]string{{`"weather"`, `"price_per_call_usdc"`}, {"200 OK", "Quito", "0.0100000"}, {`"99.9900000"`, `"totalCalls":1`},
		{`"slug":"mine"`, `"status":"active"`}, {`"key":"ck_live_`}}
	var out []byte
	if len(lines) != len(wants) {
		t.Fatalf("%d lines to paste", len(lines))
	}
	for i, line := range lines {
		var err error
		line = strings.ReplaceAll(line, demo.OwnAPI, strings.Replace(own.URL, "127.0.0.1", "localhost", 1)) // as its text says
		out, err = exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		for _, want := range wants[i] {
			if !strings.Contains(strings.ReplaceAll(string(out), ": ", ":"), strings.ReplaceAll(want, ": ", ":")) {
				t.Errorf("%s\nhas no %s in\n%s", line, want, out)
			}
		}
	}
	key := decode[struct{ Key string }](t, string(out)).Key
	screen := p.stdout.text()
	origin := strings.Fields(screen[strings.Index(screen, "REST API and gateway")+len("REST API and gateway"):])[0]
	if res, body := get(t, origin+"/v1/call/mine/any/path", "X-Api-Key", key); res.StatusCode != 200 || body != "mine: /any/path" || res.Header.Get("X-Callora-Charge") != "0.0010000" {
		t.Errorf("the user's own API behind the gateway: %s, charge %s, %s", res.Status, res.Header.Get("X-Callora-Charge"), body)
	}
	reference := p.stdout.text()
	reference = strings.Fields(reference[strings.Index(reference, "API reference")+len("API reference"):])[0]
	if res, body := get(t, reference); res.StatusCode != 200 || !strings.Contains(body, "openapi") {
		t.Errorf("the API reference at %s: %s", reference, res.Status)
	}
	p.ctrlC(t)
	if code := p.exit(t); code != 0 {
		t.Errorf("Ctrl-C ended it with %d", code)
	}
	if log := p.stderr.text(); log != "" {
		t.Errorf("a friendly demo has nothing to complain about:\n%s", log)
	}
}

func TestAKilledDemoLeavesNothingThatHindersTheNext(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	if err := os.Chmod(above, 0o700); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(above, "kept", "data")
	first := launch(t, nil, "demo", "--json", "--port", "0", "--data", data)
	one := first.report(t)
	paidCall(t, one)

	if other := launch(t, nil, "demo", "--json", "--port", "0", "--data", data); other.exit(t) != 1 ||
		!strings.Contains(other.stderr.text(), "another demo is using "+data) {
		t.Errorf("a second demo in the same folder: %s", other.stderr.text())
	}

	first.signal(t, syscall.SIGKILL)
	first.exit(t)
	second := launch(t, nil, "demo", "--json", "--port", "0", "--data", data)
	two := second.report(t)
	if two.APIKey != one.APIKey || two.AdminKey != one.AdminKey {
		t.Error("the keys changed")
	}
	paidCall(t, two)
	if got := balance(t, two); got != money.MustParse("99.98") {
		t.Errorf("the balance is %s after two calls", got)
	}
	second.finish(t)

	third := launch(t, nil, "demo", "--json", "--port", "0", "--data", data)
	if got := balance(t, third.report(t)); got != money.MustParse("99.98") {
		t.Errorf("the balance is %s after a clean restart", got)
	}
	third.finish(t)
	if info, err := os.Stat(above); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder above is now open: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(data, "demo.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the keys: %v, %v", info.Mode(), err)
	}
}

func TestADemoOnATakenPortSaysSoBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	nowhere := map[string]string{"CALLORA_POSTGRES_BIN": "/nowhere"} // which would be found out if PostgreSQL were looked for
	p := launch(t, nowhere, "demo", "--json", "--port", port)
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.text(), "cannot listen on port "+port+": another program has it") || p.stdout.text() != "" {
		t.Errorf("code %d, %s", code, p.stderr.text())
	}
}
