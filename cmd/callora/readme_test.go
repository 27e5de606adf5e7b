package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/cmd/callora/demo"
	"github.com/CalloraOrg/callora-backend/cmd/callora/seed"
)

// Every command the documents show exists, with the flags they show. (That the demo works is shown by its own tests.)
func TestTheDocumentsShowCommandsThatExist(t *testing.T) {
	shown := regexp.MustCompile("(?:go run \\./cmd/callora|`callora|bin/callora) ([a-z][^`#&\n]*)")
	looked := 0
	for _, path := range []string{"../../README.md", "../../docs/OPERATIONS.md", "../../Taskfile.yml", "../../docker-compose.yml"} {
		for _, m := range shown.FindAllStringSubmatch(read(t, path), -1) {
			looked++
			words := strings.Fields(strings.NewReplacer(`"`, "", "]", "", "{{.CLI_ARGS}}", "", "|", " ", "[", "").Replace(m[1]))
			code, help, _ := say(t, words[0], "--help")
			if code != 0 {
				t.Errorf("%s shows %q: there is no such command", path, m[0])
			}
			for _, word := range words[1:] {
				if !strings.Contains(help, word) {
					t.Errorf("%s shows %q: the help of %s does not know %q", path, m[0], words[0], word)
				}
			}
		}
	}
	if looked < 8 {
		t.Errorf("only %d commands were found in the documents", looked)
	}
}

func TestTheReadmeNamesEveryTask(t *testing.T) {
	_, verbs, found := strings.Cut(read(t, "../../README.md"), ".ci/tools/go.mod task`) knows")
	verbs, _, ended := strings.Cut(verbs, "```")
	var shown, there []string
	for _, m := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(verbs, -1) {
		shown = append(shown, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+):\n    desc:`).FindAllStringSubmatch(read(t, "../../Taskfile.yml"), -1) {
		there = append(there, m[1])
	}
	slices.Sort(shown)
	slices.Sort(there)
	if !found || !ended || !slices.Equal(shown, there) {
		t.Errorf("README.md names %q, Taskfile.yml has %q", shown, there)
	}
}

func TestTheReadmeShowsTheLinesTheDemoPrints(t *testing.T) {
	readme := read(t, "../../README.md")
	lines := demo.Report{
		API: "http://127.0.0.1:3000", Gateway: "http://127.0.0.1:3000", APISlug: seed.PaidSlug, PaidPath: seed.PaidPath, APIKey: "ck_live_…", ConsumerToken: "…",
	}.Curls()
	for _, line := range lines {
		if line = strings.Replace(line, ` -w '\n'`, "", 1); !strings.Contains(readme, "`"+line+"`") {
			t.Errorf("the README does not show: %s", line)
		}
	}
}

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#]+)[^)]*\)`)
	for _, path := range []string{"../../README.md", "../../docs/OPERATIONS.md", "../../docs/ARCHITECTURE.md"} {
		for _, m := range link.FindAllStringSubmatch(read(t, path), -1) {
			if strings.HasPrefix(m[1], "http") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
