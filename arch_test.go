// Package backend_test holds the law of the house; see docs/ARCHITECTURE.md.
package backend_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/CalloraOrg/callora-backend/"

// kernel are the domain packages that others of domain may import.
var kernel = []string{"domain/money", "domain/fault", "domain/id"}

// law says what each top folder may import of this module, and whether third-party code is allowed. Imports within the
// same package tree (adapters/x and adapters/x/y) are free.
var law = map[string]struct {
	may        []string
	thirdParty bool
}{
	"domain":   {may: kernel},
	"ports":    {may: []string{"domain"}},
	"app":      {may: []string{"domain", "ports"}},
	"adapters": {may: []string{"domain", "ports"}, thirdParty: true},
	"api":      {may: []string{"app", "domain", "api", "ports", "adapters/httpkit"}, thirdParty: true},
	"db":       {may: []string{"db"}, thirdParty: true},
	"cmd":      {may: []string{"domain", "ports", "app", "adapters", "api", "db"}, thirdParty: true},
}

// sharedAdapters are what other adapters may import; they themselves import no other.
var sharedAdapters = []string{"adapters/egress", "adapters/httpkit"}

// testsMay is what tests and their support may import on top: the ground they stand on, and what needs no double.
var testsMay = []string{"db", "ports", "domain", "adapters/pgserver", "adapters/system", "adapters/ratelimit"}

// testsOfGatewayMay is what the gateway's tests may import beyond that: they run on the real charging.
const testsOfGatewayMay = "app/charging"

// testTools may be linked into tests only.
var testTools = []string{"testing", "pgregory.net/rapid", "go.uber.org/goleak", module + "ports/portstest", module + "db/dbtest"}

const (
	mostLines     = 400
	mostTestLines = 500 // tables are long, and read one row at a time
	mostMethods   = 4
)

type file struct {
	path, folder, top string
	test, support     bool
	lines             int
	ast               *ast.File
}

// files parses every Go file. It reads them itself: a test that asked `go list` would be answered from the test cache.
func files(t *testing.T) []file {
	t.Helper()
	var out []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || path.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		top, _, _ := strings.Cut(p, "/")
		folder := path.Dir(p)
		out = append(out, file{
			path: p, folder: folder, top: top, lines: strings.Count(string(text), "\n"), ast: parsed,
			test:    strings.HasSuffix(p, "_test.go"),
			support: strings.HasPrefix(folder, "ports/portstest") || strings.HasPrefix(folder, "db/dbtest"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (f file) imports() []string {
	var out []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has accepted it
		out = append(out, p)
	}
	return out
}

func TestImportsPointInward(t *testing.T) {
	seen := map[string]int{}
	for _, f := range files(t) {
		if f.folder == "." {
			continue
		}
		rule, known := law[f.top]
		if !known {
			t.Errorf("%s: the law does not know the folder %s", f.path, f.top)
			continue
		}
		seen[f.top]++
		for _, p := range f.imports() {
			if why := f.forbids(p, rule.may, rule.thirdParty); why != "" {
				t.Errorf("%s imports %s: %s", f.path, p, why)
			}
		}
	}
	for top := range law {
		if seen[top] == 0 {
			t.Errorf("the law holds for %s, but no file was looked at there", top)
		}
	}
}

// forbids returns why f may not import p, or "".
func (f file) forbids(p string, may []string, thirdParty bool) string {
	free := f.test || f.support
	if slices.Contains(testTools, p) && !free {
		return "only tests may"
	}
	if p == strings.TrimSuffix(module, "/") {
		if f.top == "api" {
			return "" // openapi.yaml lies there
		}
		return "only api serves the contract"
	}
	inside, ours := strings.CutPrefix(p, module)
	if !ours {
		std := !strings.Contains(strings.SplitN(p, "/", 2)[0], ".")
		switch {
		case strings.HasPrefix(p, "github.com/stretchr/"):
			return "tests compare with ==, and say what they got"
		case std || free:
			return ""
		case strings.HasPrefix(p, "go.uber.org/fx") && f.top != "cmd":
			return "only cmd wires"
		case !thirdParty:
			return f.top + " is free of third-party code"
		}
		return ""
	}
	if within(inside, f.unit()) {
		return ""
	}
	if strings.HasPrefix(inside, "api/gen") && f.top != "api" {
		return "generated types stay in api"
	}
	for _, m := range may {
		if within(inside, m) {
			return ""
		}
	}
	if f.top == "adapters" && slices.Contains(sharedAdapters, inside) && !slices.Contains(sharedAdapters, f.unit()) {
		return ""
	}
	if free && slices.ContainsFunc(testsMay, func(m string) bool { return within(inside, m) }) && f.top != "domain" {
		return ""
	}
	if f.test && f.unit() == "adapters/gateway" && inside == testsOfGatewayMay {
		return ""
	}
	return "not inward"
}

// unit is the part of the tree whose packages belong together: all of db, api and cmd, but one adapter, activity or noun.
func (f file) unit() string {
	parts := strings.Split(f.folder, "/")
	switch f.top {
	case "domain", "app", "adapters":
		return strings.Join(parts[:min(len(parts), 2)], "/")
	}
	return f.top
}

func within(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func TestFilesStaySmall(t *testing.T) {
	for _, f := range files(t) {
		most := mostLines
		if f.test || f.support {
			most = mostTestLines
		}
		if f.lines > most && !strings.Contains(f.path, ".gen.") {
			t.Errorf("%s has %d lines, more than %d: split it by idea", f.path, f.lines, most)
		}
	}
}

func TestPortsStaySmall(t *testing.T) {
	looked := 0
	for _, f := range files(t) {
		if f.folder != "ports" || f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if it, ok := spec.Type.(*ast.InterfaceType); ok {
				looked++
				methods := 0
				for _, m := range it.Methods.List {
					methods += max(len(m.Names), 1)
				}
				if methods > mostMethods {
					t.Errorf("%s: the port %s has %d methods, more than %d", f.path, spec.Name, methods, mostMethods)
				}
			}
			return true
		})
	}
	if looked == 0 {
		t.Error("no port was looked at")
	}
}

// Time and ids come in as values; the environment is read in one place.
func TestTheWorldIsReadAtTheEdge(t *testing.T) {
	for _, f := range files(t) {
		if f.test || f.support || (f.top != "domain" && f.top != "app") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{"time.Now", "os.Getenv", "os.LookupEnv", "uuid.New"}, x.Name+"."+sel.Sel.Name) {
				t.Errorf("%s calls %s.%s", f.path, x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// The law itself is tried on violations, so that it cannot rot into one that finds nothing.
func TestTheLawFindsViolations(t *testing.T) {
	for _, tc := range []struct {
		folder, imports string
		test, forbidden bool
	}{
		{"app/metering", "go.uber.org/zap", false, true},
		{"app/metering", module + "app/catalog", false, true},
		{"app/metering", module + "ports", false, false},
		{"domain/usage", module + "domain/vault", false, true},
		{"domain/usage", module + "domain/money", false, false},
		{"adapters/gateway", module + "adapters/postgres", false, true},
		{"adapters/gateway", module + "app/charging", false, true},
		{"adapters/gateway", module + "app/charging", true, false},
		{"adapters/ratelimit", module + "app/charging", true, true},
		{"app/metering", module + "app/charging", true, true},
		{"adapters/gateway", module + "adapters/httpkit", false, false},
		{"adapters/httpkit", module + "adapters/egress", false, true},
		{"api", module + "adapters/httpkit", false, false},
		{"api", module + "adapters/egress", false, true},
		{"adapters/gateway", "go.uber.org/fx", false, true},
		{"adapters/postgres", module + "db/dbtest", true, false},
		{"adapters/postgres", module + "db/dbtest", false, true},
		{"api", module + "adapters/postgres", false, true},
		{"ports", "pgregory.net/rapid", false, true},
		{"cmd/callora", module + "api/gen", false, true},
		{"cmd/callora", "go.uber.org/fx", false, false},
	} {
		top, _, _ := strings.Cut(tc.folder, "/")
		f := file{folder: tc.folder, top: top, test: tc.test}
		if why := f.forbids(tc.imports, law[top].may, law[top].thirdParty); (why != "") != tc.forbidden {
			t.Errorf("%s importing %s (test: %v): got %q", tc.folder, tc.imports, tc.test, why)
		}
	}
}
