package postgres_test

import (
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func TestKeysInPostgresKeepTheContract(t *testing.T) {
	t.Parallel()
	portstest.KeysContract(t, func(t *testing.T) portstest.KeysWorld {
		m := openMarket(t)
		keys := postgres.NewKeys(m.db, vault.Testnet)
		return portstest.KeysWorld{
			Keys: keys, Lookup: keys, API: m.api.ID, NewID: newID,
			StopVault: func(owner id.ID, because string) { m.stopVault(t, owner, vault.Testnet, because) },
		}
	})
}

func TestACatalogInPostgresKeepsTheContract(t *testing.T) {
	t.Parallel()
	portstest.CatalogContract(t, func(t *testing.T) portstest.CatalogWorld {
		m := market{db: dbtest.New(t), dev: listing.Developer{ID: newID(), UserID: newID(), Name: "Ada", Website: "https://ada.example"}}
		m.insert(t, postgres.Seed{Users: []postgres.SeedUser{{ID: m.dev.UserID}}, Developers: []listing.Developer{m.dev}})
		catalog := postgres.NewCatalog(m.db)
		return portstest.CatalogWorld{
			Catalog: catalog, Publishing: catalog, Routes: postgres.NewRoutes(m.db), Developer: m.dev, NewID: newID,
		}
	})
}

func TestVaultsInPostgresKeepTheContract(t *testing.T) {
	t.Parallel()
	portstest.BalancesContract(t, func(t *testing.T) portstest.BalancesWorld {
		m := market{db: dbtest.New(t)}
		return portstest.BalancesWorld{
			Balances: postgres.NewBalances(m.db), NewID: newID,
			Add: func(_ testing.TB, b vault.Balance) {
				m.insert(t, postgres.Seed{Users: []postgres.SeedUser{{ID: b.UserID}}, Vaults: []vault.Balance{b}})
			},
		}
	})
}

func TestUsageInPostgresKeepsTheContract(t *testing.T) {
	t.Parallel()
	portstest.UsageContract(t, func(t *testing.T) portstest.UsageWorld {
		m := openMarket(t)
		e := m.api.Endpoints[0]
		return portstest.UsageWorld{
			Reader: postgres.NewUsageReader(m.db), NewID: newID,
			Line: ports.UsageLine{
				APIID: m.api.ID, APISlug: m.api.Slug, EndpointID: e.ID, Method: e.Method, Path: e.Path, Status: 200, Latency: 1500 * time.Microsecond,
			},
			Record: func(_ testing.TB, user id.ID, l ports.UsageLine) {
				m.record(t, usage.Event{
					ID: l.ID, UserID: user, APIID: l.APIID, EndpointID: l.EndpointID, KeyID: newID(), Amount: l.Amount, Status: l.Status,
					Latency: l.Latency, OccurredAt: l.OccurredAt,
				})
			},
		}
	})
}
