package billing

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

func TestAConsumerSeesTheirOwnVault(t *testing.T) {
	t.Parallel()
	vaults, consumer := &portstest.Vaults{}, newID()
	here := vault.Balance{
		VaultID: newID(), UserID: consumer, Network: vault.Testnet, ContractID: "C1", Snapshot: money.MustParse("5"), Ledger: 7,
		Held: money.MustParse("2"), LastSyncedAt: time.Date(2026, 5, 28, 12, 0, 0, 0, time.UTC),
	}
	there := vault.Balance{VaultID: newID(), UserID: consumer, Network: vault.Mainnet, Snapshot: money.MustParse("9")}
	for _, b := range []vault.Balance{{VaultID: newID(), UserID: newID(), Network: vault.Testnet}, there, here} {
		vaults.Add(b)
	}
	uc := GetBalance{Balances: vaults, Network: vault.Testnet}
	for network, want := range map[vault.Network]vault.Balance{"": here, vault.Testnet: here, vault.Mainnet: there} {
		if got, err := uc.Do(t.Context(), GetBalanceInput{Actor: consumer, Network: network}); err != nil || got != want {
			t.Errorf("on %q\ngot  %+v, %v\nwant %+v", network, got, err, want)
		}
	}
}

func TestWhoHasNoVaultOnANetworkIsToldWhich(t *testing.T) {
	t.Parallel()
	uc := GetBalance{Balances: &portstest.Vaults{}, Network: vault.Testnet}
	for give, want := range map[vault.Network]vault.Network{"": vault.Testnet, vault.Mainnet: vault.Mainnet} {
		if _, err := uc.Do(t.Context(), GetBalanceInput{Actor: newID(), Network: give}); !errors.Is(err, vault.NotFound(want)) {
			t.Errorf("on %q: %v, want %v", give, err, vault.NotFound(want))
		}
	}
}
