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

// partitionsAhead is how many days of usage_events are always ready.
const partitionsAhead = 7

func openDatabase(ctx context.Context, cfg *config.Config) (*sqlx.DB, error) {
	return postgres.Open(ctx, cfg.Database.Postgres())
}

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
	// before the first call: an event without its day's partition would stand in the way of making it
	_, err := postgres.MakePartitions(ctx, handle, partitionsAhead)
	return err
}
