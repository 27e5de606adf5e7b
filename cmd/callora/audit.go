package main

import (
	"context"
	"fmt"
	"io"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/ports"
)

func auditCommand() *command {
	return &command{
		name:    "audit",
		summary: "prove the money's invariants on the stored facts",
		help: `
Evaluates every invariant of the money on one consistent snapshot of the database, while the system may be running, and
prints both sides of each. Needs DATABASE_URL (or the DB_* fields). Exit code 0: all hold; 1: at least one does not.`,
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
			found, err := postgres.NewAuditor(handle).Invariants(ctx)
			if err != nil {
				return err
			}
			if drifts := printInvariants(c.out, found); drifts > 0 {
				fmt.Fprintf(c.err, "callora audit: %d of %d invariants do not hold\n", drifts, len(found))
				return errSaid
			}
			return nil
		},
	}
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
	}
	if drifts == 0 {
		fmt.Fprintf(w, "All %d invariants hold.\n", len(found))
	}
	return drifts
}
