package gateway

import (
	"context"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// payment is what one call holds, and how it ends: money that is reserved, then charged or released, and an Idempotency-Key
// that is claimed, then kept or given up. It ends once; whatever comes after that changes nothing.
type payment struct {
	event id.ID      // of the charge: the call's own id, or that of the first call with the same Idempotency-Key
	hold  ports.Hold // nil: nothing is reserved
	claim *claim     // nil: no Idempotency-Key is held

	charged bool
	free    bool // charged before, under the same Idempotency-Key
	served  bool // free, and served again
}

// reserve sets the price aside. Faults: vault.Stopped, and see ports.Charger.
func (p *payment) reserve(ctx context.Context, charger ports.Charger, k *apikey.Key, price money.Amount) error {
	if p.free {
		return nil
	}
	if err := mayPay(k, price); err != nil {
		return err
	}
	hold, err := charger.Reserve(ctx, k.UserID, price)
	if err != nil {
		return err
	}
	p.hold = hold
	return nil
}

// mayPay refuses a price to a key whose vault is stopped.
func mayPay(k *apikey.Key, price money.Amount) error {
	if k.VaultStopped == "" || price.IsZero() {
		return nil
	}
	return vault.Stopped(k.VaultStopped)
}

// charge records the event. On an error (usage.ErrNotRecorded) the call is not charged, and no complete answer may be given.
func (p *payment) charge(ctx context.Context, e usage.Event) error {
	if p.free {
		p.served = true
		return nil // it is the same call once more
	}
	if p.claim != nil {
		e.IdempotencyKey, e.IdempotencyClaim = p.claim.Key, p.claim.Claim
	}
	if err := p.hold.Charge(ctx, e); err != nil {
		return usage.ErrNotRecorded.Because(err)
	}
	p.charged = true
	return nil
}

// release gives back what has not been charged. It returns the claim that is to be given up, nil when there is none.
func (p *payment) release() *claim {
	if p.hold != nil {
		p.hold.Release()
	}
	if p.charged || p.served {
		return nil
	}
	claim := p.claim
	p.claim = nil
	return claim
}

// amount is the X-Callora-Charge of an answer that is charged at a price.
func (p *payment) amount(price []string) []string {
	if p.free {
		return nothingCharged
	}
	return price
}

// nothingCharged is the X-Callora-Charge of a call that is not charged.
var nothingCharged = []string{zeroCharge}
