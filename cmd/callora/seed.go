package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/cmd/callora/seed"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

func seedCommand() *command {
	var force bool
	var upstream string
	return &command{
		name:    "seed",
		summary: "put the demo's marketplace into a database",
		help: `
Writes two developers, three APIs with priced endpoints and one consumer with 100 USDC and an API key into the database of
DATABASE_URL (or the DB_* fields), whose schema must be up to date. The key is printed once. Safe to repeat: what exists
stays, the APIs move to --upstream.`,
		flags: func(f *flag.FlagSet) {
			f.BoolVar(&force, "force", false, "do it even when APP_ENV is production or left out")
			f.StringVar(&upstream, "upstream", "http://localhost:4000", "`URL` under which the APIs' upstreams are")
		},
		run: func(ctx context.Context, c console, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			var u config.WebURL
			if err := u.UnmarshalText([]byte(upstream)); err != nil {
				return usageError("--upstream " + err.Error())
			}
			cfg, err := settings(c)
			if err != nil {
				return err
			}
			if cfg.Production() && !force {
				return fmt.Errorf("APP_ENV is production: demo data does not belong there (--force writes it all the same)")
			}
			handle, err := openReady(ctx, c, cfg)
			if err != nil {
				return err
			}
			defer handle.Close()
			if cfg.Env == "" && !force {
				if err := refuseStrangers(ctx, handle); err != nil {
					return err
				}
			}
			return plant(ctx, c, handle, seed.Marketplace(upstream, cfg.Stellar.Network))
		},
	}
}

func plant(ctx context.Context, c console, handle *sqlx.DB, s postgres.Seed) error {
	plain, _, _, err := apikey.Generate(rand.Reader)
	if err != nil {
		return err
	}
	s.Keys = []apikey.Key{seed.Key(seed.KeyID, plain, system.Now())}
	fresh, err := postgres.InsertSeed(ctx, handle, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "The marketplace is there: %d APIs, %d developers, one consumer (%s).\n", len(s.APIs), len(s.Developers), seed.Consumer)
	if !slices.Contains(fresh, seed.KeyID) {
		fmt.Fprintln(c.out, "Its API key was printed when it was made and cannot be shown again.")
		return nil
	}
	fmt.Fprintf(c.out, "Its API key for %q, shown only now:\n%s\n", seed.PaidSlug, plain)
	return nil
}

// refuseStrangers keeps demo data out of a database that other people use, where nothing says that it is not production.
func refuseStrangers(ctx context.Context, handle *sqlx.DB) error {
	var others bool
	ours := pq.Array([]id.ID{seed.Consumer, seed.SellerOne, seed.SellerTwo})
	if err := handle.GetContext(ctx, &others, `SELECT EXISTS (SELECT FROM users WHERE id <> ALL ($1::uuid[]))`, ours); err != nil {
		return err
	}
	if others {
		return errors.New("APP_ENV is missing, and the database has users of its own: this may be production, where demo data does not belong. " +
			"Set APP_ENV to development or test (--force writes it all the same)")
	}
	return nil
}
