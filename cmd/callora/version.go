package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/CalloraOrg/callora-backend/db"
)

func versionCommand() *command {
	return &command{
		name:    "version",
		summary: "say what this program was built from (also: --version)",
		help: `
Prints the program's version and commit, what built it, and the version of the database's schema that it needs.`,
		run: func(_ context.Context, c console, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			schema, err := db.Wanted()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "callora %s\n%s %s/%s, schema %d\n", builtFrom(), runtime.Version(), runtime.GOOS, runtime.GOARCH, schema)
			return err
		},
	}
}

// builtFrom is the version that the build noted, with the commit when the build knew one.
func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	version, changed := info.Main.Version, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			version += ", commit " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", with changes"
		}
	}
	return version + changed
}
