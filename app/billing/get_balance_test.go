package billing_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func TestABalanceIsOfTheCallersOwnVault(t *testing.T) {
	t.Parallel()
	user, vaults := id.ID(uuid.Must(uuid.NewV7())), &portstest.Vaults{}
	vaults.Add(vault.Balance{UserID: id.ID(uuid.Must(uuid.NewV7())), Network: vault.Mainnet, Snapshot: money.FromStroops(9)})
	vaults.Add(vault.Balance{UserID: user, Network: vault.Mainnet, Snapshot: money.FromStroops(5)})
	uc := billing.GetBalance{Balances: vaults, Network: vault.Mainnet}
	for _, network := range []vault.Network{"", vault.Mainnet} {
		got, err := uc.Do(t.Context(), billing.GetBalanceInput{Actor: user, Network: network})
		if err != nil || got.Snapshot.Stroops() != 5 {
			t.Errorf("on %q: %+v, %v", network, got, err)
		}
	}
	if _, err := uc.Do(t.Context(), billing.GetBalanceInput{Actor: user, Network: vault.Testnet}); !errors.Is(err, vault.NotFound(vault.Testnet)) {
		t.Errorf("where there is no vault: %v", err)
	}
}
