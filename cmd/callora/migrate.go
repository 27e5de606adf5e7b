package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
)

func migrateCommand() *command {
	var all, force bool
	return &command{
		name:    "migrate",
		args:    "up|down|status|version|partitions",
		summary: "move the database's schema (up, down), tell where it is (status, version), make its partitions",
		help: `
  up       apply every migration that is missing
  down     take the last migration back, with --all every one: tables and what is in them are dropped. A step that would
           lose money refuses and says what would be lost; nothing overrides that, and nothing has changed then
  status   list the migrations
  version  print the version the schema is at and the one this program needs; exit code 1 when they differ
  partitions  make the daily partitions of usage events, as serve does by itself when its role may (docs/OPERATIONS.md)

Needs DATABASE_URL (or the DB_* fields). Safe to run from several machines at once.`,
		flags: func(f *flag.FlagSet) {
			f.BoolVar(&all, "all", false, "with down: take every migration back")
			f.BoolVar(&force, "force", false, "with down: do it even when APP_ENV is production (a step that would lose money refuses all the same)")
		},
		run: func(ctx context.Context, c console, args []string) error {
			if len(args) != 1 {
				return usageError("needs one of up, down, status, version, partitions")
			}
			steps := map[string]func(context.Context, io.Writer, *sqlx.DB) error{
				"up": migrateUp, "status": migrateStatus, "version": migrateVersion, "partitions": migratePartitions,
				"down": func(ctx context.Context, w io.Writer, handle *sqlx.DB) error { return migrateDown(ctx, w, handle, all) },
			}
			step, known := steps[args[0]]
			if !known {
				return usageError(fmt.Sprintf("does not know %q; it needs one of up, down, status, version, partitions", args[0]))
			}
			cfg, err := settings(c)
			if err != nil {
				return err
			}
			if args[0] == "down" && cfg.Production() && !force {
				return errors.New("APP_ENV is production: down drops tables and what is in them (--force does it all the same)")
			}
			handle, err := openDatabase(ctx, cfg)
			if err != nil {
				return err
			}
			defer handle.Close()
			return step(ctx, c.out, handle)
		},
	}
}

func migrateUp(ctx context.Context, w io.Writer, handle *sqlx.DB) error {
	applied, err := db.Up(ctx, handle.DB)
	if err != nil {
		return err
	}
	at, _, err := db.Version(ctx, handle.DB)
	if err == nil {
		fmt.Fprintf(w, "Applied %d migrations; the schema is at version %d.\n", applied, at)
	}
	return err
}

func migrateDown(ctx context.Context, w io.Writer, handle *sqlx.DB, all bool) error {
	undone, err := db.Down(ctx, handle.DB, all)
	if err != nil {
		return err
	}
	at, _, err := db.Version(ctx, handle.DB)
	if err == nil {
		fmt.Fprintf(w, "Took back %d migrations; the schema is at version %d.\n", undone, at)
	}
	return err
}

func migrateStatus(ctx context.Context, w io.Writer, handle *sqlx.DB) error {
	steps, err := db.Status(ctx, handle.DB)
	for _, s := range steps {
		state := "missing"
		if s.Applied {
			state = "applied"
		}
		fmt.Fprintf(w, "%s  %s\n", state, s.Name)
	}
	return err
}

func migrateVersion(ctx context.Context, w io.Writer, handle *sqlx.DB) error {
	at, want, err := db.Version(ctx, handle.DB)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "The schema is at version %d; this program needs %d.\n", at, want)
	if at != want {
		return errSaid
	}
	return nil
}

func migratePartitions(ctx context.Context, w io.Writer, handle *sqlx.DB) error {
	if err := db.Check(ctx, handle.DB); err != nil && !errors.Is(err, db.ErrNew) {
		return err
	}
	p := postgres.NewPartitions(handle, partitionsAhead)
	for {
		done, err := p.Keep(ctx)
		if err != nil {
			return err
		}
		if done == 0 {
			break
		}
	}
	s, err := p.State(ctx)
	if err == nil {
		fmt.Fprintf(w, "Partitions are ready for today and %d days ahead; %d usage events wait for theirs.\n", s.Ahead, s.Waiting)
	}
	return err
}
