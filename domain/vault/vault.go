// Package vault is a consumer's prepaid money: the mirror of one Soroban vault contract, and the leases drawn on it.
package vault

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// Network is the Stellar network a vault lives on.
type Network string

// The networks.
const (
	Testnet Network = "testnet"
	Mainnet Network = "mainnet"
)

// Faults of vaults.
var (
	// ErrShort means the free money does not cover the price. Nothing was set aside.
	ErrShort = fault.New(fault.PaymentRequired, "PAYMENT_REQUIRED", "Payment Required: insufficient balance")
	// ErrHeld is an ErrShort that may pass: with what other nodes have leased, and calls have not used, there would be enough.
	ErrHeld = fault.New(fault.PaymentRequired, "PAYMENT_REQUIRED",
		"Payment Required: insufficient balance; the rest is set aside for calls in progress").Because(ErrShort)
)

// RecallEvery is how often, at most, the nodes are asked to give a vault's idle money back, whoever is short and however often.
const RecallEvery = time.Second

// Stopped is the fault of a call that a stopped vault would have to pay for. because is a sentence for its owner.
func Stopped(because string) *fault.Error {
	return fault.New(fault.PaymentRequired, "VAULT_STOPPED", "Payment Required: the vault is stopped: "+because)
}

// NotFound is the fault of a user who has no vault on a network.
func NotFound(n Network) *fault.Error {
	return fault.New(fault.NotFound, "VAULT_NOT_FOUND",
		"Vault not found for user on network '"+string(n)+"'. Please create a vault first.")
}

// Balance is a vault's money at one moment.
//
//	Snapshot    what the contract held on chain at Ledger
//	Uncollected used by closed leases, not yet taken on chain
//	Held        granted to open leases; HeldUsed of it is already used by calls
//
// What can still be leased is Snapshot - Uncollected - Held; what the owner has not yet spent is Spendable.
type Balance struct {
	VaultID      id.ID
	UserID       id.ID
	Network      Network
	ContractID   string
	Snapshot     money.Amount
	Ledger       int64
	Uncollected  money.Amount
	Held         money.Amount
	HeldUsed     money.Amount
	LastSyncedAt time.Time // zero: never
}

// Spendable is Snapshot - Uncollected - HeldUsed: all that no call has used. It is negative when the owner took money
// out on chain that calls had already used.
func (b Balance) Spendable() (money.Amount, error) {
	rest, err := b.Snapshot.Sub(b.Uncollected)
	if err != nil {
		return money.Amount{}, err
	}
	return rest.Sub(b.HeldUsed)
}

// Lease is a part of a vault's money set aside for one gateway node, from which it serves calls without asking the
// database. Used <= Granted always; a lease past ExpiresAt takes no more charges.
type Lease struct {
	ID        id.ID
	VaultID   id.ID
	Granted   money.Amount
	Used      money.Amount
	ExpiresAt time.Time
}
