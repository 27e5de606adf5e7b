package portstest

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

func TestBankKeepsTheChargingContract(t *testing.T) {
	t.Parallel()
	ChargingContract(t, func(*testing.T) ChargingWorld {
		b := NewBank(time.Now)
		return ChargingWorld{
			Leases: b, Succession: b, Journal: b, Expiry: b, Revenue: b, Idempotency: b, Auditor: b, NewID: newID,
			Fund: func(_ testing.TB, balance money.Amount) id.ID {
				c := newID()
				b.Fund(c, balance)
				return c
			},
			Balance: func(_ testing.TB, c id.ID) vault.Balance { return b.Balance(c) },
			Events:  func(testing.TB) map[id.ID]money.Amount { return b.Events() },
			Call: func(_ testing.TB, c id.ID, price money.Amount) usage.Event {
				return usage.Event{
					ID: newID(), UserID: c, APIID: newID(), EndpointID: newID(), KeyID: newID(), Amount: price, Status: 200,
					OccurredAt: time.Now(),
				}
			},
			Age:     func(testing.TB) { b.AgeLeases() },
			AgeKeys: func(_ testing.TB, by time.Duration) { b.AgeKeys(by) },

			Stop:       func(_ testing.TB, c id.ID) { b.Stop(c) },
			Recalls:    func(testing.TB) []id.ID { return b.Recalls() },
			AgeRecalls: func(_ testing.TB, by time.Duration) { b.AgeRecalls(by) },
		}
	})
}
