package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
	"github.com/CalloraOrg/callora-backend/db"
)

// settings reads the configuration of a command that only works on the database.
func settings(c console) (*config.Config, error) {
	cfg, err := config.Load(config.DatabaseOnly)
	if err != nil {
		return nil, err
	}
	for _, note := range cfg.Notes {
		fmt.Fprintf(c.err, "callora: %s\n", note)
	}
	return cfg, nil
}

// openReady opens the database when its schema is not older than this program.
func openReady(ctx context.Context, c console, cfg *config.Config) (*sqlx.DB, error) {
	handle, err := openDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	switch err := db.Check(ctx, handle.DB); {
	case errors.Is(err, db.ErrNew):
		fmt.Fprintf(c.err, "callora: %v\n", err)
	case err != nil:
		return nil, errors.Join(err, handle.Close())
	}
	return handle, nil
}

func openDatabase(ctx context.Context, cfg *config.Config) (*sqlx.DB, error) {
	handle, err := postgres.Open(ctx, cfg.Database.Postgres())
	if err != nil {
		return nil, err
	}
	if err := postgres.RequireSession(ctx, handle); err != nil {
		return nil, errors.Join(err, handle.Close())
	}
	return handle, nil
}

// pools are a node's connections to the database. Charging has its own: no report and no pass can keep a charge waiting
// for one.
type pools struct{ main, money *sqlx.DB }

// moreForMoney is what charging needs besides a connection for each writer: grants, renewals, the expiry pass.
const moreForMoney = 4

func openPools(ctx context.Context, cfg *config.Config) (p pools, err error) {
	if p.main, err = openDatabase(ctx, cfg); err != nil {
		return p, err
	}
	c := cfg.Database.Postgres()
	c.MaxOpen, c.ApplicationName = cfg.Metering.Shards+moreForMoney, "callora-charging"
	c.Settings = postgres.ChargingSettings()
	if p.money, err = postgres.Open(ctx, c); err != nil {
		return p, errors.Join(err, p.main.Close())
	}
	return p, nil
}

func (p pools) close(context.Context) error { return errors.Join(p.money.Close(), p.main.Close()) }

// prepareDatabase brings the schema to what this program needs, or refuses to go on.
func prepareDatabase(ctx context.Context, cfg *config.Config, handle *sqlx.DB, log *zap.Logger) error {
	if cfg.Database.MigrateOnStart {
		applied, err := db.Up(ctx, handle.DB)
		if err != nil {
			return err
		}
		if applied > 0 {
			log.Info("migrated", zap.Int("applied", applied))
		}
	}
	switch err := db.Check(ctx, handle.DB); {
	case errors.Is(err, db.ErrNew): // a newer release is being rolled out, and its schema still serves this one
		log.Warn("serving on a newer schema", zap.Error(err))
	case errors.Is(err, db.ErrOld):
		return fmt.Errorf("%w (or serve with --migrate)", err)
	case err != nil:
		return err
	}
	firstPartitions(ctx, postgres.NewPartitions(handle, partitionsAhead), log)
	return nil
}
