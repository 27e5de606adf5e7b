package api

import (
	"context"
	"fmt"

	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/billing"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// GetVaultBalance serves GET /api/vault/balance.
func (o *operations) GetVaultBalance(ctx context.Context, r gen.GetVaultBalanceRequestObject) (gen.GetVaultBalanceResponseObject, error) {
	b, err := o.uses.Billing.GetBalance.Do(ctx, billing.GetBalanceInput{Actor: edge.Actor(ctx), Network: vault.Network(orEmpty(r.Params.Network))})
	if err != nil {
		return nil, err
	}
	spendable, err := b.Spendable()
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", b.VaultID, err)
	}
	return gen.GetVaultBalance200JSONResponse{Body: gen.VaultBalance{
		BalanceUsdc: spendable.String(), ContractId: b.ContractID, Network: gen.Network(b.Network), LastSyncedAt: timeOrNull(b.LastSyncedAt),
		Ledger: b.Ledger, OnChainUsdc: b.Snapshot.String(), UncollectedUsdc: b.Uncollected.String(), HeldUsdc: b.Held.String(),
	}}, nil
}
