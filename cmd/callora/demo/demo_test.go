package demo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/adapters/system"
)

func TestStateSurvivesAndDamageIsNamed(t *testing.T) {
	dir := t.TempDir()
	made, err := loadState(dir, system.NewID)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadState(dir, system.NewID)
	if err != nil || again != made {
		t.Errorf("got %v", err)
	}
	for _, text := range []string{"{", "{}", `{"api_key":"short"}`} {
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadState(dir, system.NewID); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestTheReportIsOneLineWithAllThatAScriptNeeds(t *testing.T) {
	var out strings.Builder
	if err := (Report{API: "http://x"}).printJSON(&out); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%q, %v", out.String(), err)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(out.String()), &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api", "gateway", "api_key", "api_slug", "paid_path", "price_usdc", "consumer_token", "developer_token",
		"admin_key", "database_url", "upstream"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestTheDemoUsesNoDatabaseButItsOwn(t *testing.T) {
	const own = "postgres://demo@127.0.0.1:5000/demo"
	t.Setenv("DATABASE_URL", "postgres://me@db.example/production")
	t.Setenv("DB_HOST", "db.example")
	made, err := loadState(t.TempDir(), system.NewID)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Options{}.config(made, own, "127.0.0.1:4000")
	if err != nil || cfg.Database.Postgres().URL != own {
		t.Errorf("the demo works on %s, %v", cfg.Database.Postgres().URL, err)
	}
}
