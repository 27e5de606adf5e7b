package postgres

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// apiColumns and developerColumns are prefixed, so that both fit into one row.
const (
	apiColumns = `a.id AS api_id, a.developer_id AS api_developer_id, a.slug AS api_slug, a.name AS api_name,
		a.description AS api_description, a.base_url AS api_base_url, a.logo_url AS api_logo_url,
		a.category AS api_category, a.status AS api_status, a.created_at AS api_created_at, a.updated_at AS api_updated_at`
	developerColumns = `d.id AS dev_id, d.user_id AS dev_user_id, COALESCE(d.name, '') AS dev_name,
		COALESCE(d.website, '') AS dev_website, COALESCE(d.description, '') AS dev_description,
		COALESCE(d.category, '') AS dev_category`
)

const insertAPI = `
	INSERT INTO apis (id, developer_id, slug, name, description, base_url, logo_url, category, status, created_at, updated_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) `

func apiArgs(a listing.API) []any {
	return []any{
		a.ID, a.DeveloperID, a.Slug, a.Name, a.Description, a.BaseURL, a.LogoURL, a.Category, string(a.Status),
		a.CreatedAt, a.UpdatedAt,
	}
}

// insertEndpoints inserts endpoints with one statement; conflict is its ON CONFLICT clause, if any.
func insertEndpoints(ctx context.Context, tx *sqlx.Tx, all []listing.Endpoint, conflict string) error {
	ids, apis, prices := newIDArray(len(all)), newIDArray(len(all)), newIntArray(len(all))
	created, updated := newTimeArray(len(all)), newTimeArray(len(all))
	var methods, paths, descriptions pq.StringArray
	for _, e := range all {
		ids.addID(e.ID)
		apis.addID(e.APIID)
		prices.addInt(e.Price.Stroops())
		created.addTime(e.CreatedAt)
		updated.addTime(e.UpdatedAt)
		methods, paths, descriptions = append(methods, e.Method), append(paths, e.Path), append(descriptions, e.Description)
	}
	if len(all) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO api_endpoints (id, api_id, method, path, price_stroops, description, created_at, updated_at)
		SELECT * FROM unnest(
			$1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::timestamptz[]) `+conflict,
		ids.text(), apis.text(), methods, paths, prices.text(), descriptions, created.text(), updated.text())
	return err
}

// attachEndpoints gives each API its endpoints, in the order they were made.
func attachEndpoints(ctx context.Context, db sqlx.QueryerContext, apis []listing.API) error {
	if len(apis) == 0 {
		return nil
	}
	at := make(map[id.ID]*listing.API, len(apis))
	ids := newIDArray(len(apis))
	for i := range apis {
		at[apis[i].ID] = &apis[i]
		ids.addID(apis[i].ID)
	}
	var rows []endpointRow
	err := sqlx.SelectContext(ctx, db, &rows, `
		SELECT id, api_id, method, path, price_stroops, description, created_at, updated_at
		FROM api_endpoints WHERE api_id = ANY ($1::uuid[]) ORDER BY id`, ids.text())
	if err != nil {
		return err
	}
	for _, r := range rows {
		a := at[r.APIID]
		a.Endpoints = append(a.Endpoints, r.toDomain())
	}
	return nil
}

type listedRow struct {
	apiRow
	developerRow
}

type apiRow struct {
	ID          id.ID     `db:"api_id"`
	DeveloperID id.ID     `db:"api_developer_id"`
	Slug        string    `db:"api_slug"`
	Name        string    `db:"api_name"`
	Description string    `db:"api_description"`
	BaseURL     string    `db:"api_base_url"`
	LogoURL     string    `db:"api_logo_url"`
	Category    string    `db:"api_category"`
	Status      string    `db:"api_status"`
	CreatedAt   time.Time `db:"api_created_at"`
	UpdatedAt   time.Time `db:"api_updated_at"`
}

func (r apiRow) toDomain() listing.API {
	return listing.API{
		ID: r.ID, DeveloperID: r.DeveloperID, Slug: r.Slug, Name: r.Name, Description: r.Description, BaseURL: r.BaseURL,
		LogoURL: r.LogoURL, Category: r.Category, Status: listing.Status(r.Status),
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}

type developerRow struct {
	ID          id.ID  `db:"dev_id"`
	UserID      id.ID  `db:"dev_user_id"`
	Name        string `db:"dev_name"`
	Website     string `db:"dev_website"`
	Description string `db:"dev_description"`
	Category    string `db:"dev_category"`
}

func (r developerRow) toDomain() listing.Developer { return listing.Developer(r) }

type endpointRow struct {
	ID          id.ID     `db:"id"`
	APIID       id.ID     `db:"api_id"`
	Method      string    `db:"method"`
	Path        string    `db:"path"`
	Price       int64     `db:"price_stroops"`
	Description string    `db:"description"`
	CreatedAt   time.Time `db:"created_at"`
	UpdatedAt   time.Time `db:"updated_at"`
}

func (r endpointRow) toDomain() listing.Endpoint {
	return listing.Endpoint{
		ID: r.ID, APIID: r.APIID, Method: r.Method, Path: r.Path, Price: money.FromStroops(r.Price),
		Description: r.Description, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}
