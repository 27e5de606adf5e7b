package postgres

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// AppendWithSums is the usual append with other sums than those of the batch.
func AppendWithSums(ctx context.Context, db *sqlx.DB, batch []usage.Record, stroops ...int64) error {
	args, _ := appendArgs(batch)
	sums := newIntArray(len(stroops))
	for _, s := range stroops {
		sums.addInt(s)
	}
	_, err := run(ctx, db, &prepared{query: appendWhole}, append(args, sums))
	return err
}
