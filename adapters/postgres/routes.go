package postgres

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

// Routes reads what the gateway serves. It is ports.Routes.
type Routes struct{ db *sqlx.DB }

// NewRoutes returns the routes in db.
func NewRoutes(db *sqlx.DB) *Routes { return &Routes{db} }

// ActiveAPIs returns every active API with its endpoints, as they were at one moment.
func (s *Routes) ActiveAPIs(ctx context.Context) ([]listing.API, error) {
	apis, err := s.read(ctx, `WHERE a.status = 'active'`)
	return apis, failed("read all routes", err, nil)
}

// API returns one API in any status, with its endpoints.
func (s *Routes) API(ctx context.Context, api id.ID) (listing.API, error) {
	apis, err := s.read(ctx, `WHERE a.id = $1`, api)
	switch {
	case err != nil:
		return listing.API{}, failed("read the routes of API "+api.String(), err, nil)
	case len(apis) == 0:
		return listing.API{}, listing.ErrNotFound
	}
	return apis[0], nil
}

func (s *Routes) read(ctx context.Context, where string, args ...any) (apis []listing.API, err error) {
	err = inSnapshot(ctx, s.db, func(tx *sqlx.Tx) error {
		var rows []apiRow
		if err := tx.SelectContext(ctx, &rows, `SELECT `+apiColumns+` FROM apis a `+where, args...); err != nil {
			return err
		}
		apis = toDomain(rows, apiRow.toDomain)
		return attachEndpoints(ctx, tx, apis)
	})
	return apis, err
}
