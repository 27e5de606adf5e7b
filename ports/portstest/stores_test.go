package portstest

import (
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

func TestKeysInMemoryKeepTheContract(t *testing.T) {
	t.Parallel()
	KeysContract(t, func(*testing.T) KeysWorld {
		keys := NewKeys()
		return KeysWorld{Keys: keys, Lookup: keys, StopVault: keys.StopVault, API: newID(), NewID: newID}
	})
}

func TestACatalogInMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	CatalogContract(t, func(*testing.T) CatalogWorld {
		c := NewCatalog()
		dev := listing.Developer{ID: newID(), UserID: newID(), Name: "Ada", Website: "https://ada.example"}
		c.AddDeveloper(dev)
		return CatalogWorld{Catalog: c, Publishing: c, Routes: c, Developer: dev, NewID: newID}
	})
}

func TestVaultsInMemoryKeepTheContract(t *testing.T) {
	t.Parallel()
	BalancesContract(t, func(*testing.T) BalancesWorld {
		vaults := &Vaults{}
		return BalancesWorld{Balances: vaults, NewID: newID, Add: func(_ testing.TB, b vault.Balance) { vaults.Add(b) }}
	})
}

func TestUsageInMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	UsageContract(t, func(*testing.T) UsageWorld {
		usage := &Usage{}
		return UsageWorld{
			Reader: usage, NewID: newID, Record: func(_ testing.TB, user id.ID, l ports.UsageLine) { usage.Add(user, l) },
			Line: ports.UsageLine{
				APIID: newID(), APISlug: "weather", EndpointID: newID(), Method: "GET", Path: "/forecast", Status: 200, Latency: time.Millisecond,
			},
		}
	})
}
