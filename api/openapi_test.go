package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheSpecIsSoundItsExamplesIncluded(t *testing.T) {
	t.Parallel()
	if err := document(t).Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaPatternValidation()); err != nil {
		t.Error(err)
	}
}

// Clients and their authors get an example of everything that can be sent and of everything that can come back.
func TestEveryOperationIsDescribedWhole(t *testing.T) {
	t.Parallel()
	looked := 0
	for path, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			looked++
			at := method + " " + path
			if op.OperationID == "" || op.Summary == "" || len(op.Tags) != 1 || op.Security == nil {
				t.Errorf("%s lacks an operationId, a summary, a tag or a word on security", at)
			}
			if op.Responses.Value("500") == nil {
				t.Errorf("%s does not say what an internal error looks like", at)
			}
			if op.Responses.Value("429") == nil || asksWho(op) && op.Responses.Value("401") == nil {
				t.Errorf("%s does not say how it refuses a request too many, or one of nobody known", at)
			}
			for _, p := range op.Parameters {
				if p.Value.Example == nil || p.Value.Description == "" {
					t.Errorf("%s: the parameter %s lacks an example or a description", at, p.Value.Name)
				}
			}
			if op.RequestBody != nil {
				wantExamples(t, at+" (request)", op.RequestBody.Value.Content)
				if op.Responses.Value("413") == nil || op.Responses.Value("415") == nil {
					t.Errorf("%s has a body and does not say how it refuses one", at)
				}
			}
			for status, response := range op.Responses.Map() {
				wantExamples(t, at+" "+status, response.Value.Content)
				if response.Value.Headers["X-Request-Id"] == nil {
					t.Errorf("%s %s does not name X-Request-Id", at, status)
				}
			}
		}
	}
	if looked < 12 {
		t.Errorf("%d operations were looked at", looked)
	}
}

func asksWho(op *openapi3.Operation) bool {
	for _, way := range *op.Security {
		if len(way) > 0 {
			return true
		}
	}
	return false
}

func wantExamples(t *testing.T, at string, content openapi3.Content) {
	t.Helper()
	for media, c := range content {
		if c.Example == nil && len(c.Examples) == 0 {
			t.Errorf("%s has no example of %s", at, media)
		}
	}
}

// inner are the codes of faults that a use case answers for itself.
var inner = map[string]bool{"API_KEY_PREFIX_TAKEN": true}

// Codes are what programs decide by, so none may leave this program that the spec does not list.
func TestEveryCodeOfARefusalIsInTheSpec(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, code := range document(t).Components.Schemas["ErrorCode"].Value.Enum {
		listed[code.(string)] = true
	}
	made := codes(t, "New", 1)
	if len(made) < 30 {
		t.Errorf("only %d codes were found in the source", len(made))
	}
	for code, where := range made {
		if !listed[code] && !inner[code] {
			t.Errorf("%s (%s) is not an ErrorCode of openapi.yaml", code, where)
		}
	}
	for code := range listed {
		if _, ok := made[code]; !ok && code != "VALIDATION_ERROR" { // made by InvalidFields
			t.Errorf("openapi.yaml lists %s, which nothing answers with", code)
		}
	}
}

// codes finds the string at a position of the arguments in all calls of a function of package fault.
func codes(t *testing.T, function string, position int) map[string]string {
	t.Helper()
	found := map[string]string{}
	fset := token.NewFileSet()
	for _, top := range []string{"api", "app", "adapters", "domain"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) <= position {
					return true
				}
				f, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || f.Sel.Name != function {
					return true
				}
				if x, ok := f.X.(*ast.Ident); !ok || x.Name != "fault" {
					return true
				}
				code, ok := call.Args[position].(*ast.BasicLit)
				if !ok {
					t.Errorf("%s: the code is not a literal", fset.Position(call.Pos()))
					return true
				}
				text, err := strconv.Unquote(code.Value)
				if err != nil {
					t.Error(err)
				}
				found[text] = fset.Position(call.Pos()).String()
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestTheSpecIsServedAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var served map[string]any
	w.as(t, id.ID{}, "GET", "/api/openapi.json", "").into(http.StatusOK, &served)
	if doc, err := openapi3.NewLoader().LoadFromData(w.as(t, id.ID{}, "GET", "/api/openapi.json", "").Body.Bytes()); err != nil ||
		!reflect.DeepEqual(doc.Paths.Keys(), document(t).Paths.Keys()) {
		t.Errorf("the JSON is another document: %v", err)
	}
}
