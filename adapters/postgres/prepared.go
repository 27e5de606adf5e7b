package postgres

import (
	"context"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
)

// prepared is a statement that is prepared at its first use, when the database is there: planning it costs more than
// running it for a few rows.
type prepared struct {
	query string
	stmt  atomic.Pointer[sqlx.Stmt]
}

// on waits for nobody else's preparation: that has a context of its own.
func (p *prepared) on(ctx context.Context, db *sqlx.DB) (*sqlx.Stmt, error) {
	if stmt := p.stmt.Load(); stmt != nil {
		return stmt, nil
	}
	stmt, err := db.PreparexContext(ctx, p.query)
	if err != nil {
		return nil, err
	}
	if !p.stmt.CompareAndSwap(nil, stmt) {
		_ = stmt.Close() // a rival was first; the connection that closing may lose is replaced
	}
	return p.stmt.Load(), nil
}
