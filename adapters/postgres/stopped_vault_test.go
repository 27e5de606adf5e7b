package postgres_test

import (
	"testing"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// stopVault stops a user's vault on a network, and makes it when there is none; without words it pays again.
func (m market) stopVault(t *testing.T, owner id.ID, network vault.Network, because string) {
	t.Helper()
	if _, err := m.db.ExecContext(t.Context(), `INSERT INTO vaults (id, user_id, network) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		newID(), owner, network); err != nil {
		t.Fatal(err)
	}
	if _, err := m.db.ExecContext(t.Context(), `
		UPDATE vaults SET stopped_at = CASE WHEN $3 <> '' THEN now() END, stopped_because = NULLIF($3, '')
		WHERE user_id = $1 AND network = $2`, owner, network, because); err != nil {
		t.Fatal(err)
	}
}

func TestAVaultStopsOnItsOwnNetwork(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	k := m.newKey(t)
	if err := postgres.NewKeys(m.db, vault.Testnet).Issue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	m.stopVault(t, m.consumer, vault.Mainnet, "it owes 3 USDC")
	for network, want := range map[vault.Network]string{vault.Testnet: "", vault.Mainnet: "it owes 3 USDC"} {
		got, err := postgres.NewKeys(m.db, network).KeyByPrefix(t.Context(), k.Prefix)
		if err != nil || got.VaultStopped != want {
			t.Errorf("on %s stopped because %q, %v; want %q", network, got.VaultStopped, err, want)
		}
	}
}

func TestAStopIsNewsOfTheVaultsOwnerAndChargingIsNone(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	news := func() int { return m.count(t, `SELECT count(*) FROM changes`) }
	before := news()
	if _, err := m.db.Exec(`UPDATE vaults SET held = held + 1, uncollected = uncollected + 1, balance_snapshot = 5`); err != nil {
		t.Fatal(err)
	}
	if news() != before {
		t.Error("charging is news")
	}
	m.stopVault(t, m.consumer, vault.Testnet, "it owes 3 USDC")
	m.stopVault(t, m.consumer, vault.Testnet, "")
	if n := m.count(t, `SELECT count(*) FROM changes WHERE kind = 'owner' AND subject = $1`, m.consumer.String()); n != 2 || news() != before+2 {
		t.Errorf("%d news of the owner, %d in all; want 2", n, news()-before)
	}
}

func TestRecallsDoNotKeepTheSchemaFromSteppingBack(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	if _, err := m.db.Exec(`INSERT INTO changes (kind, subject) VALUES ('recall', $1)`, m.consumer.String()); err != nil {
		t.Fatal(err)
	}
	for at := int64(13); at >= 13; {
		if _, err := db.Down(t.Context(), m.db.DB, false); err != nil {
			t.Fatal(err)
		}
		var err error
		if at, _, err = db.Version(t.Context(), m.db.DB); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.count(t, `SELECT count(*) FROM changes WHERE kind NOT IN ('api', 'key', 'owner')`); n != 0 {
		t.Errorf("%d rows that the schema of before does not know", n)
	}
}
