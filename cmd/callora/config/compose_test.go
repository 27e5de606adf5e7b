package config

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads docker-compose.yml as Docker Compose does.
func compose(t *testing.T, environ map[string]string) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: "../../..", ConfigFiles: []types.ConfigFile{{Filename: "../../../docker-compose.yml"}}, Environment: environ,
	}, func(o *loader.Options) { o.SetProjectName("callora", true) })
}

// inside is what the api's process finds in its environment.
func inside(t *testing.T, p *types.Project) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, value := range p.Services["api"].Environment {
		if value != nil {
			out[name] = *value
		}
	}
	return out
}

// ofTheContainers are the variables that docker-compose.yml decides, because they say where things are in the containers.
var ofTheContainers = map[string]string{
	"HOST": "0.0.0.0", "PORT": "3000", "DATABASE_URL": "", "DB_HOST": "postgres", "DB_PORT": "5432", "MIGRATE_ON_START": "true",
}

func TestComposePassesEveryVariable(t *testing.T) {
	given := map[string]string{}
	eachVariable(reflect.TypeFor[Config](), func(_ reflect.StructField, name string) { given[name] = "7" + strings.ToLower(name) })
	given["PORT"], given["DB_PORT"], given["HOST"] = "4000", "15432", "192.0.2.1"
	want := maps.Clone(given)
	p, err := compose(t, given)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(want, ofTheContainers)
	got := inside(t, p)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, passed := got[name]; !passed || value != want[name] {
			t.Errorf("%s: the api gets %q (%v), want %q", name, value, passed, want[name])
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("the api gets what is no setting: %v", got)
	}
	if pg := p.Services["postgres"]; *pg.Environment["POSTGRES_PASSWORD"] != given["DB_PASSWORD"] ||
		*pg.Environment["POSTGRES_USER"] != given["DB_USER"] || *pg.Environment["POSTGRES_DB"] != given["DB_NAME"] {
		t.Errorf("PostgreSQL is made for somebody else: %v", pg.Environment)
	}
	if got := ports(p); got != "api 192.0.2.1:4000->3000, postgres 127.0.0.1:15432->5432" {
		t.Errorf("published: %s", got)
	}
}

func ports(p *types.Project) string {
	var out []string
	for name, s := range p.Services {
		for _, port := range s.Ports {
			out = append(out, name+" "+port.HostIP+":"+port.Published+"->"+strconv.FormatUint(uint64(port.Target), 10))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// Who copies .env.example and fills in what has no default gets a server that starts, and that this machine alone can reach.
func TestComposeWorksWithTheExample(t *testing.T) {
	given, err := values("../../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"JWT_SECRET", "ADMIN_API_KEY", "METRICS_API_KEY"} {
		given[name] = "secret of " + name
	}
	given["DATABASE_URL"] = "postgres://me:secret@localhost:5432/elsewhere" // which is not where it is inside
	p, err := compose(t, given)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(inside(t, p), Serving)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.Database.URL); got != "postgres://postgres:postgres@postgres:5432/callora" || c.ListenHost() != "0.0.0.0" || !c.Database.MigrateOnStart {
		t.Errorf("the database is at %s, the server on %s", got, c.ListenHost())
	}
	if got := ports(p); got != "api 127.0.0.1:3000->3000, postgres 127.0.0.1:5432->5432" {
		t.Errorf("published: %s", got)
	}
	for name, s := range p.Services {
		if s.Restart != "unless-stopped" || s.HealthCheck == nil {
			t.Errorf("%s: restart %q, health check %v", name, s.Restart, s.HealthCheck)
		}
	}
	if grace := p.Services["api"].StopGracePeriod; grace == nil || int64(*grace) <= int64(c.ShutdownFor) {
		t.Errorf("the api is killed after %v, and may take %v", grace, c.ShutdownFor.D())
	}
}

func TestComposeAsksForWhatHasNoDefault(t *testing.T) {
	all := map[string]string{"APP_ENV": "production", "DB_PASSWORD": "x", "JWT_SECRET": "x", "ADMIN_API_KEY": "x", "METRICS_API_KEY": "x"}
	for name := range all {
		without := maps.Clone(all)
		delete(without, name)
		if _, err := compose(t, without); err == nil || !strings.Contains(err.Error(), "set "+name+" in .env") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
