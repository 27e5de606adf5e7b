package postgres_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

func TestSeedingTwiceIsHarmlessAndNoNews(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	seed := m.seed()
	seed.Users[1].StellarAddress = "G" + strings.Repeat("A", 55)
	seed.Keys = []apikey.Key{m.newKey(t)}
	if inserted := m.insert(t, seed); !slices.Equal(inserted, []id.ID{seed.Keys[0].ID}) {
		t.Errorf("new keys %v, want the one", inserted)
	}
	m.db.MustExec(`UPDATE vaults SET uncollected = 5, balance_snapshot = 77 WHERE id = $1`, m.vault.VaultID)
	m.db.MustExec(`DELETE FROM changes`)
	if inserted := m.insert(t, seed); len(inserted) != 0 {
		t.Errorf("new keys %v, want none", inserted)
	}
	if n := m.count(t, `SELECT count(*) FROM changes`); n != 0 {
		t.Errorf("%d changes announced, want none", n)
	}
	b, err := postgres.NewBalances(m.db).BalanceOf(t.Context(), m.consumer, vault.Testnet)
	if err != nil || b.Uncollected != money.FromStroops(5) || b.Snapshot != money.FromStroops(77) {
		t.Errorf("the vault became %+v, %v", b, err)
	}
	if k, err := postgres.NewKeys(m.db, vault.Testnet).KeyByPrefix(t.Context(), seed.Keys[0].Prefix); err != nil || !reflect.DeepEqual(k, seed.Keys[0]) {
		t.Errorf("the key became %+v, %v", k, err)
	}
}

func TestASeedBringsTheCatalogueUpToDate(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	seed := m.seed()
	seed.Developers[0].Name = "Ada L."
	seed.APIs[0].BaseURL = "http://127.0.0.1:4242"
	seed.APIs[0].Endpoints[0].Price = money.MustParse("0.5")
	m.insert(t, seed)
	got, err := postgres.NewCatalog(m.db).ListedAPI(t.Context(), "weather")
	if err != nil || !reflect.DeepEqual(got.API, seed.APIs[0]) || got.Developer != seed.Developers[0] {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, seed.APIs[0])
	}
}

func TestASeedThatMeetsOtherRowsChangesNothingAndSaysWhich(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	const bad = "G-not-an-address"
	sameSlug, sameVault, sameUser := m.newAPI("weather", "GET /x"), m.vault, m.dev
	sameVault.VaultID, sameUser.ID = newID(), newID()
	key := m.newKey(t)
	key.APIID = newID()
	for name, seed := range map[string]postgres.Seed{
		"user":        {Users: []postgres.SeedUser{{ID: newID(), StellarAddress: bad}}},
		"developer":   {Developers: []listing.Developer{sameUser}},
		"API weather": {APIs: []listing.API{sameSlug}},
		"vault":       {Vaults: []vault.Balance{sameVault}},
		"API key":     {Keys: []apikey.Key{key}},
	} {
		seed.Users = append([]postgres.SeedUser{{ID: id.ID{42}}}, seed.Users...)
		_, err := postgres.InsertSeed(t.Context(), m.db, seed)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
	if n := m.count(t, `SELECT count(*) FROM users WHERE id = $1`, id.ID{42}); n != 0 {
		t.Error("a refused seed left its user behind")
	}
}

// seed is what openMarket inserted.
func (m market) seed() postgres.Seed {
	api := m.api
	api.Endpoints = slices.Clone(api.Endpoints)
	return postgres.Seed{
		Users:      []postgres.SeedUser{{ID: m.dev.UserID}, {ID: newID()}},
		Developers: []listing.Developer{m.dev}, APIs: []listing.API{api}, Vaults: []vault.Balance{m.vault},
	}
}
