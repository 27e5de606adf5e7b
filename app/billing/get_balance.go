// Package billing shows consumers their money.
package billing

import (
	"context"
	"fmt"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// GetBalance reads a consumer's own vault.
type GetBalance struct {
	Balances ports.Balances
	Network  vault.Network // the one of this deployment, for requests that name none
}

// GetBalanceInput names the vault. An empty network is the deployment's.
type GetBalanceInput struct {
	Actor   id.ID
	Network vault.Network
}

// Do reads the balance. Fault: vault.NotFound.
func (uc GetBalance) Do(ctx context.Context, in GetBalanceInput) (vault.Balance, error) {
	if in.Network == "" {
		in.Network = uc.Network
	}
	balance, err := uc.Balances.BalanceOf(ctx, in.Actor, in.Network)
	if err != nil {
		return vault.Balance{}, fmt.Errorf("get a balance: %w", err)
	}
	return balance, nil
}
