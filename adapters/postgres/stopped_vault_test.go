package postgres_test

import (
	"testing"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
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

// Gateways have the stop in memory with the keys that pay by the vault.
func TestAStopIsNewsOfTheOwnersLivingKeysAndChargingIsNot(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	living, revoked, theirs := m.newKey(t), m.newKey(t), m.newKey(t)
	theirs.UserID = newID()
	for _, k := range []apikey.Key{living, revoked, theirs} {
		if err := keys.Issue(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	if err := keys.Revoke(t.Context(), m.consumer, revoked.ID, moment(5)); err != nil {
		t.Fatal(err)
	}
	news := func() int { return m.count(t, `SELECT count(*) FROM changes`) }
	of := func(k apikey.Key) int { return m.count(t, `SELECT count(*) FROM changes WHERE subject = $1`, k.Prefix) }
	before := news()
	if _, err := m.db.Exec(`UPDATE vaults SET held = held + 1, uncollected = uncollected + 1, balance_snapshot = 5`); err != nil {
		t.Fatal(err)
	}
	if news() != before {
		t.Error("charging is news")
	}
	m.stopVault(t, m.consumer, vault.Testnet, "it owes 3 USDC")
	m.stopVault(t, m.consumer, vault.Testnet, "")
	if news() != before+2 || of(living) != 3 || of(theirs) != 1 {
		t.Errorf("%d news more, %d of the living key, %d of another owner's", news()-before, of(living), of(theirs))
	}
}
