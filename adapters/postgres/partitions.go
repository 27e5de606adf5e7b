package postgres

import (
	"context"

	"github.com/jmoiron/sqlx"
)

// MakePartitions makes the daily partitions of usage_events from today to days ahead and returns how many are new. Safe to
// repeat, and to run on several nodes at once.
func MakePartitions(ctx context.Context, db *sqlx.DB, days int) (int, error) {
	var made int
	err := db.GetContext(ctx, &made, `SELECT usage_partitions($1)`, days)
	return made, failed("make partitions of usage_events", err, nil)
}
