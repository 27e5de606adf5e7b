package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
)

// partitionsAhead is how many days of usage_events are always ready.
const partitionsAhead = 7

func databaseConfig(cfg *Config) postgres.Config {
	d := cfg.Database
	return postgres.Config{
		URL: string(d.URL), MaxOpen: d.PoolMax, IdleTime: d.IdleTimeout.D(), ConnectTimeout: d.ConnTimeout.D(),
	}
}

func openDatabase(ctx context.Context, cfg *Config) (*sqlx.DB, error) {
	return postgres.Open(ctx, databaseConfig(cfg))
}

// prepareDatabase brings the schema to what this program needs, or refuses to go on.
func prepareDatabase(ctx context.Context, cfg *Config, handle *sqlx.DB, log *zap.Logger) error {
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
	// before the first call: an event without its day's partition would stand in the way of making it
	_, err := postgres.MakePartitions(ctx, handle, partitionsAhead)
	return err
}

// createDatabase makes a database on the server of address, unless it is there.
func createDatabase(ctx context.Context, address, name string) error {
	handle, err := postgres.Open(ctx, postgres.Config{URL: address, MaxOpen: 1})
	if err != nil {
		return err
	}
	defer handle.Close()
	var there bool
	if err := handle.GetContext(ctx, &there, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name); err != nil || there {
		return err
	}
	_, err = handle.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name))
	return err
}
