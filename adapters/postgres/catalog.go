package postgres

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Catalog keeps the marketplace. It is ports.Catalog and ports.Publishing.
type Catalog struct{ db *sqlx.DB }

// NewCatalog returns the marketplace in db.
func NewCatalog(db *sqlx.DB) *Catalog { return &Catalog{db} }

var catalogRefusals = refusals{
	"apis_slug_key":               listing.ErrSlugTaken,
	"apis_developer_id_fkey":      listing.ErrNoDeveloper,
	"api_endpoints_operation_key": fault.New(fault.Invalid, "VALIDATION_ERROR", "Two endpoints have the same method and path"),
}

// The two conditions leave a listing alone when their parameter is empty.
const listedWhere = `
	FROM apis a JOIN developers d ON d.id = a.developer_id
	WHERE a.status = 'active'
		AND ($1 = '' OR a.category = $1)
		AND ($2 = '' OR a.name ILIKE $2 OR a.description ILIKE $2) `

// ListedAPIs returns active APIs, newest first, and how many match in all.
func (s *Catalog) ListedAPIs(ctx context.Context, q ports.ListingQuery) (page []ports.ListedAPI, total int, err error) {
	like := containing(q.Search)
	err = inSnapshot(ctx, s.db, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+listedWhere, q.Category, like); err != nil {
			return err
		}
		var rows []listedRow
		err := tx.SelectContext(ctx, &rows, `SELECT `+apiColumns+`, `+developerColumns+listedWhere+`
			ORDER BY a.created_at DESC, a.id DESC LIMIT $3 OFFSET $4`, q.Category, like, q.Limit, q.Offset)
		if err != nil {
			return err
		}
		page, err = withEndpoints(ctx, tx, rows)
		return err
	})
	return page, total, failed("list APIs", err, nil)
}

// ListedAPI returns one active API by id or slug. A slug may look like an id: the id wins, so that nobody can take over
// a link to another's API.
func (s *Catalog) ListedAPI(ctx context.Context, ref string) (ports.ListedAPI, error) {
	byID, _ := id.Parse(ref) // else the zero id, NULL, which equals nothing
	var found []ports.ListedAPI
	err := inSnapshot(ctx, s.db, func(tx *sqlx.Tx) error {
		var rows []listedRow
		err := tx.SelectContext(ctx, &rows, `SELECT `+apiColumns+`, `+developerColumns+`
			FROM apis a JOIN developers d ON d.id = a.developer_id
			WHERE a.status = 'active' AND (a.id = $1 OR a.slug = $2)
			ORDER BY a.id = $1 DESC NULLS LAST LIMIT 1`, byID, ref)
		if err != nil {
			return err
		}
		found, err = withEndpoints(ctx, tx, rows)
		return err
	})
	switch {
	case err != nil:
		return ports.ListedAPI{}, failed("find a listed API", err, nil)
	case len(found) == 0:
		return ports.ListedAPI{}, listing.ErrNotFound
	}
	return found[0], nil
}

// DeveloperOf returns the developer profile of a user.
func (s *Catalog) DeveloperOf(ctx context.Context, user id.ID) (listing.Developer, error) {
	var r developerRow
	err := s.db.GetContext(ctx, &r, `SELECT `+developerColumns+` FROM developers d WHERE d.user_id = $1`, user)
	if errors.Is(err, sql.ErrNoRows) {
		return listing.Developer{}, listing.ErrNoDeveloper
	}
	return r.toDomain(), failed("find a developer", err, nil)
}

// Publish stores an API and its endpoints, all or nothing.
func (s *Catalog) Publish(ctx context.Context, a listing.API) error {
	err := retryTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, insertAPI, apiArgs(a)...); err != nil {
			return err
		}
		return insertEndpoints(ctx, tx, a.Endpoints, ``)
	})
	return failed("publish an API", err, catalogRefusals)
}

func withEndpoints(ctx context.Context, db sqlx.QueryerContext, rows []listedRow) ([]ports.ListedAPI, error) {
	apis := toDomain(rows, func(r listedRow) listing.API { return r.apiRow.toDomain() })
	if err := attachEndpoints(ctx, db, apis); err != nil {
		return nil, err
	}
	page := make([]ports.ListedAPI, len(rows))
	for i, r := range rows {
		page[i] = ports.ListedAPI{API: apis[i], Developer: r.developerRow.toDomain()}
	}
	return page, nil
}

// containing is the LIKE pattern for texts that hold part, "" for any text.
func containing(part string) string {
	if part == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(part) + "%"
}
