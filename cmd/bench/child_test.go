package main

import (
	"io"
	"strings"
	"testing"
)

func TestATailKeepsTheLastWordsThatAreWorthIt(t *testing.T) {
	t.Parallel()
	var x tail
	for _, p := range []string{
		"starting\n{\"level\":\"info\",\"msg\":\"call\"}\n{\"level\":\"wa", "rn\",\"msg\":\"slow\"}\n", "{\"level\":\"info\"", ",\"msg\":\"call\"}\n", "panic: ", "x",
	} {
		if _, err := io.WriteString(&x, p); err != nil {
			t.Fatal(err)
		}
	}
	if got := x.text(); got != "starting\n{\"level\":\"warn\",\"msg\":\"slow\"}\npanic: x" {
		t.Errorf("kept %q", got)
	}
	for range 100 {
		_, _ = io.WriteString(&x, strings.Repeat("y", 99)+"\n")
	}
	if got := x.text(); len(got) > tailSize || !strings.HasSuffix(got, "y\n") {
		t.Errorf("kept %d bytes, the last %q", len(got), got[len(got)-2:])
	}
}
