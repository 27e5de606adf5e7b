package postgres

import (
	"context"
	"sync"

	"github.com/jmoiron/sqlx"
)

// prepared is a statement that is prepared at its first use, when the database is there: planning it costs more than
// running it for a few rows.
type prepared struct {
	query string

	mu   sync.Mutex
	stmt *sqlx.Stmt
}

func (p *prepared) on(ctx context.Context, db *sqlx.DB) (*sqlx.Stmt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stmt == nil {
		stmt, err := db.PreparexContext(ctx, p.query)
		if err != nil {
			return nil, err
		}
		p.stmt = stmt
	}
	return p.stmt, nil
}
