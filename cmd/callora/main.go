// Command callora is the backend of the Callora API marketplace.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], console{out: os.Stdout, err: os.Stderr}))
}

// console is where a command speaks: results to out, everything else to err.
type console struct{ out, err io.Writer }

// command is one verb of the command line.
type command struct {
	name    string
	args    string // after the name, for the usage line
	summary string
	help    string // below the usage line
	run     func(ctx context.Context, c console, args []string) error
	flags   func(*flag.FlagSet)
}

// usageError is a mistake on the command line; it ends the program with code 2.
type usageError string

func (e usageError) Error() string { return string(e) }

// errSaid ends the program with code 1; what there is to say has been printed.
var errSaid = errors.New("see above")

func commands() []*command {
	return []*command{serveCommand(), migrateCommand(), demoCommand(), seedCommand(), auditCommand(), versionCommand()}
}

// run executes the command line and returns the exit code: 0 done, 1 failed, 2 a wrong command line.
func run(ctx context.Context, args []string, c console) int {
	if len(args) == 0 {
		fmt.Fprint(c.err, overview())
		return 2
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			fmt.Fprint(c.out, overview())
			return 0
		}
		name, rest = rest[0], []string{"--help"}
	}
	if name == "-version" || name == "--version" {
		name = "version"
	}
	for _, cmd := range commands() {
		if cmd.name == name {
			return cmd.execute(ctx, rest, c)
		}
	}
	fmt.Fprintf(c.err, "callora: there is no command %q\n\n%s", name, overview())
	return 2
}

func (cmd *command) execute(ctx context.Context, args []string, c console) int {
	flags := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if cmd.flags != nil {
		cmd.flags(flags)
	}
	free, err := parseInterspersed(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(c.out, cmd.usage(flags))
		return 0
	}
	if err != nil {
		err = usageError(err.Error())
	} else {
		err = cmd.run(ctx, c, free)
	}
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(c.err, "callora %s: %v\n\n%s", cmd.name, err, cmd.usage(flags))
		return 2
	case !errors.Is(err, errSaid):
		fmt.Fprintf(c.err, "callora %s: %v\n", cmd.name, err)
	}
	return 1
}

// parseInterspersed lets flags stand before and after other arguments, and returns the others.
func parseInterspersed(flags *flag.FlagSet, args []string) (free []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return free, nil
		}
		free, args = append(free, rest[0]), rest[1:]
	}
}

func (cmd *command) usage(flags *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: callora %s\n\n%s\n", strings.TrimSpace(cmd.name+" "+cmd.args), strings.TrimSpace(cmd.help))
	first := true
	flags.VisitAll(func(f *flag.Flag) {
		if first {
			b.WriteString("\nFlags:\n")
			first = false
		}
		kind, text := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "  %-16s %s\n", strings.TrimSpace("--"+f.Name+" "+kind), text)
	})
	return b.String()
}

func overview() string {
	var b strings.Builder
	b.WriteString("callora is the backend of the Callora API marketplace: every call is authenticated, priced, charged once and metered.\n\n" +
		"Usage: callora <command> [flags]\n\nCommands:\n")
	for _, cmd := range commands() {
		fmt.Fprintf(&b, "  %-8s %s\n", cmd.name, cmd.summary)
	}
	b.WriteString("\nNew here? Try: callora demo\n`callora <command> --help` tells more. All settings are in .env.example.\n")
	return b.String()
}

// noArguments refuses what nobody reads.
func noArguments(args []string) error {
	if len(args) > 0 {
		return usageError(fmt.Sprintf("does not take %q", args[0]))
	}
	return nil
}
