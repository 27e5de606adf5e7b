package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/ports"
)

// mostDays bounds the days that are named for one invariant.
const mostDays = 20

func auditCommand() *command {
	var full bool
	return &command{
		name:    "audit",
		summary: "prove the money's invariants on the stored facts",
		help: `
Evaluates every invariant of the money, while the system may be running, and prints both sides of each. Days of usage that
cannot change any more are read once and sealed in the table audit_checkpoints; the next audit trusts them and reads what is
new. With --full everything is read, and the sealed days are held against their rows: run it now and then, and whenever
somebody may have written to the database by hand. Needs DATABASE_URL (or the DB_* fields). Exit code 0: all hold; 1: at
least one does not.`,
		flags: func(f *flag.FlagSet) {
			f.BoolVar(&full, "full", false, "read every day from its rows, and compare the sealed ones")
		},
		run: func(ctx context.Context, c console, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			cfg, err := settings(c)
			if err != nil {
				return err
			}
			handle, err := openReady(ctx, c, cfg)
			if err != nil {
				return err
			}
			defer handle.Close()
			begun := time.Now()
			audit := postgres.NewAuditor(handle).Audit
			if full {
				audit = postgres.NewAuditor(handle).AuditAll
			}
			report, err := audit(ctx)
			if err != nil {
				return err
			}
			drifts := printInvariants(c.out, report.Invariants)
			printReading(c.out, report, full, time.Since(begun))
			if drifts > 0 {
				fmt.Fprintf(c.err, "callora audit: %d of %d invariants do not hold\n", drifts, len(report.Invariants))
				return errSaid
			}
			return nil
		},
	}
}

// printReading prints how far the audit had to look and how long that took.
func printReading(w io.Writer, r ports.AuditReport, full bool, took time.Duration) {
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", n)
	}
	what := "not sealed yet"
	if full {
		what = "all there are"
	}
	fmt.Fprintf(w, "Read %d usage events (%s) in %.1f s.", r.Read, what, took.Seconds())
	if !r.SealedTo.IsZero() {
		fmt.Fprintf(w, " Sealed up to %s (%d days now), chain %.16s.", r.SealedTo.Format(time.DateOnly), r.Sealed, r.Chain)
	}
	fmt.Fprintln(w)
}

// printInvariants prints one block per invariant and returns how many do not hold.
func printInvariants(w io.Writer, found []ports.Invariant) (drifts int) {
	for _, i := range found {
		verdict := "ok   "
		if !i.Holds() {
			verdict = "DRIFT"
			drifts++
		}
		fmt.Fprintf(w, "%s  %s\n       %s %s = %s %s", verdict, i.Name, i.LeftName, i.Left, i.RightName, i.Right)
		if i.Offenders > 0 {
			fmt.Fprintf(w, "  (%d rows do not agree)", i.Offenders)
		}
		fmt.Fprintln(w)
		for _, day := range i.Days[:min(len(i.Days), mostDays)] {
			fmt.Fprintf(w, "       on %s\n", day)
		}
		if more := len(i.Days) - mostDays; more > 0 {
			fmt.Fprintf(w, "       and on %d days more\n", more)
		}
	}
	if drifts == 0 {
		fmt.Fprintf(w, "All %d invariants hold.\n", len(found))
	}
	return drifts
}
