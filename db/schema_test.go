package db_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

var update = flag.Bool("update", false, "write testdata/schema.txt and freeze new migrations (`task schema`)")

const (
	schemaFile = "testdata/schema.txt"
	frozenFile = "testdata/frozen.txt"
)

// between separates the things in the file, as functions have many lines.
const between = "\n\n"

func TestTheSchemaIsTheOneWrittenDown(t *testing.T) {
	t.Parallel()
	text := strings.Join(dump(t, connect(t, dbtest.URL(t))), between) + "\n"
	if *update {
		write(t, schemaFile, text)
	}
	got, want := strings.Split(text, between), strings.Split(read(t, schemaFile), between)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(want, got) {
		differ(t, "all migrations against "+schemaFile+" (meant? `task schema` writes it anew)", want, got)
		if !t.Failed() {
			t.Errorf("%s has something twice", schemaFile)
		}
	}
}

// A default partition that took the place of another is like it, down to the names of its indexes and its trigger.
func TestAMoveLeavesTheSchemaAsItWas(t *testing.T) {
	t.Parallel()
	pool := connect(t, dbtest.URL(t))
	before := dump(t, pool)
	past := time.Now().Add(-30 * day)
	eventAt(t, pool, id.FirstAt(past))
	if err := keepPartitions(pool, 7, time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(partitions(t, pool), nameOf(past)) {
		t.Fatal("nothing has moved")
	}
	differ(t, "after a move", before, dump(t, pool))
}

// What has been applied somewhere must stay what it was: a change is a new migration. The way down may be corrected.
func TestLandedMigrationsAreFrozen(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	frozen := map[string]string{}
	for line := range strings.Lines(read(t, frozenFile)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		frozen[name] = sum
	}
	var lines string
	for _, file := range files {
		name := filepath.Base(file)
		way, _, _ := strings.Cut(read(t, file), "-- +goose Down")
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(way)))
		switch was, known := frozen[name]; {
		case known && was != sum:
			t.Errorf("%s: the way up has changed since it landed; write a new migration instead", name)
		case !known && *update:
			frozen[name] = sum
		case !known:
			t.Errorf("%s is new: `task schema` freezes it in %s", name, frozenFile)
		}
		if frozen[name] != "" {
			lines += frozen[name] + "  " + name + "\n"
		}
	}
	if n := strings.Count(lines, "\n"); n < 4 || n < len(frozen) {
		t.Errorf("%d migrations are frozen, of those %d are there: one that has landed stays", len(frozen), n)
	}
	if *update && !t.Failed() {
		write(t, frozenFile, lines)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
