package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// Seed is a marketplace to start from. The ids are the caller's and stay the same, so that seeding twice is harmless.
type Seed struct {
	Users      []SeedUser
	Developers []listing.Developer
	APIs       []listing.API // with their endpoints
	Vaults     []vault.Balance
	Keys       []apikey.Key
}

// SeedUser is a user; StellarAddress may be empty.
type SeedUser struct {
	ID             id.ID
	StellarAddress string
}

// InsertSeed stores a seed in one transaction and returns the ids of the keys that are new. What sellers write (profiles,
// APIs, endpoints) is brought up to date, so that a demo's upstream can move to another port. Users, keys and money that
// exist stay as they are: of a vault only what identifies it and the chain's balance are taken from the seed, and only once.
func InsertSeed(ctx context.Context, db *sqlx.DB, s Seed) (newKeys []id.ID, err error) {
	err = retryTx(ctx, db, func(tx *sqlx.Tx) error {
		for _, step := range []func(context.Context, *sqlx.Tx) error{
			s.plantUsers, s.plantDevelopers, s.plantAPIs, s.plantVaults,
		} {
			if err := step(ctx, tx); err != nil {
				return err
			}
		}
		newKeys, err = s.plantKeys(ctx, tx)
		return err
	})
	return newKeys, failed("insert the seed", err, nil)
}

func (s Seed) plantUsers(ctx context.Context, tx *sqlx.Tx) error {
	return plantEach(ctx, tx, s.Users, `
		INSERT INTO users (id, stellar_address) VALUES ($1, NULLIF($2, '')) ON CONFLICT (id) DO NOTHING`,
		func(u SeedUser) (string, []any) { return "user " + u.ID.String(), []any{u.ID, u.StellarAddress} }, nil)
}

func (s Seed) plantDevelopers(ctx context.Context, tx *sqlx.Tx) error {
	return plantEach(ctx, tx, s.Developers, `
		INSERT INTO developers (id, user_id, name, website, description, category)
		VALUES ($1, $2, NULLIF($3, ''), NULLIF($4, ''), NULLIF($5, ''), NULLIF($6, ''))
		ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, website = EXCLUDED.website,
			description = EXCLUDED.description, category = EXCLUDED.category, updated_at = now()`,
		func(d listing.Developer) (string, []any) {
			return "developer " + d.ID.String(), []any{d.ID, d.UserID, d.Name, d.Website, d.Description, d.Category}
		}, nil)
}

// plantAPIs writes nothing where nothing changed: every write would be news to the gateways.
func (s Seed) plantAPIs(ctx context.Context, tx *sqlx.Tx) error {
	err := plantEach(ctx, tx, s.APIs, insertAPI+`
		ON CONFLICT (id) DO UPDATE SET slug = EXCLUDED.slug, name = EXCLUDED.name, description = EXCLUDED.description,
			base_url = EXCLUDED.base_url, logo_url = EXCLUDED.logo_url, category = EXCLUDED.category,
			status = EXCLUDED.status, updated_at = EXCLUDED.updated_at
		WHERE (apis.slug, apis.name, apis.description, apis.base_url, apis.logo_url, apis.category, apis.status)
			IS DISTINCT FROM (EXCLUDED.slug, EXCLUDED.name, EXCLUDED.description, EXCLUDED.base_url, EXCLUDED.logo_url,
				EXCLUDED.category, EXCLUDED.status)`,
		func(a listing.API) (string, []any) { return "API " + a.Slug, apiArgs(a) }, nil)
	if err != nil {
		return err
	}
	var endpoints []listing.Endpoint
	for _, a := range s.APIs {
		endpoints = append(endpoints, a.Endpoints...)
	}
	err = insertEndpoints(ctx, tx, endpoints, `
		ON CONFLICT (id) DO UPDATE SET method = EXCLUDED.method, path = EXCLUDED.path,
			price_stroops = EXCLUDED.price_stroops, description = EXCLUDED.description, updated_at = EXCLUDED.updated_at
		WHERE (api_endpoints.method, api_endpoints.path, api_endpoints.price_stroops, api_endpoints.description)
			IS DISTINCT FROM (EXCLUDED.method, EXCLUDED.path, EXCLUDED.price_stroops, EXCLUDED.description)`)
	if err != nil {
		return fmt.Errorf("endpoints: %w", err)
	}
	return nil
}

func (s Seed) plantVaults(ctx context.Context, tx *sqlx.Tx) error {
	return plantEach(ctx, tx, s.Vaults, `
		INSERT INTO vaults (id, user_id, network, contract_id, balance_snapshot, snapshot_ledger, last_synced_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING`,
		func(v vault.Balance) (string, []any) {
			return "vault " + v.VaultID.String(), []any{
				v.VaultID, v.UserID, string(v.Network), v.ContractID, v.Snapshot.Stroops(), v.Ledger, nullTime(v.LastSyncedAt),
			}
		}, nil)
}

func (s Seed) plantKeys(ctx context.Context, tx *sqlx.Tx) (inserted []id.ID, err error) {
	err = plantEach(ctx, tx, s.Keys, insertKey+` ON CONFLICT (id) DO NOTHING`,
		func(k apikey.Key) (string, []any) { return "API key " + k.ID.String(), keyArgs(k) },
		func(k apikey.Key) { inserted = append(inserted, k.ID) })
	return inserted, err
}

// plantEach runs one statement for each noun, says which one it failed for, and tells written of those it wrote.
func plantEach[Noun any](
	ctx context.Context, tx *sqlx.Tx, nouns []Noun, query string, row func(Noun) (name string, args []any), written func(Noun),
) error {
	insert, err := tx.PreparexContext(ctx, query)
	if err != nil {
		return err
	}
	defer insert.Close() // the transaction's end closes it at the latest
	for _, noun := range nouns {
		name, args := row(noun)
		done, err := insert.ExecContext(ctx, args...)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n, err := done.RowsAffected()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if n > 0 && written != nil {
			written(noun)
		}
	}
	return nil
}
