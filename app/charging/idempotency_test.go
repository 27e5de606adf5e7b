package charging

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// claimed is a call that has claimed an Idempotency-Key.
func (h *house) claimed(consumer id.ID) usage.Event {
	h.t.Helper()
	e := event(consumer)
	e.IdempotencyKey, e.IdempotencyClaim = "k", e.ID
	ask := ports.IdempotencyClaim{Consumer: consumer, Key: "k", Event: e.ID, Lease: time.Minute, Retention: time.Hour}
	if got, err := h.bank.Claim(h.t.Context(), ask); err != nil || got.Outcome != ports.IdempotencyClaimed {
		h.t.Fatal(got, err)
	}
	return e
}

// The lease is as good as before, and so is its money.
func TestACallThatHasLostItsIdempotencyKeyIsNotCharged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("3"))
		charger := New(h.config(), h.bank, h.bank, time.Now, newID)
		charger.Start()
		late := h.claimed(consumer)
		time.Sleep(2 * time.Minute)
		h.claimed(consumer) // takes the key over
		hold, err := charger.Reserve(t.Context(), consumer, usdc("1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := hold.Charge(t.Context(), late); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the call ended with %v", err)
		}
		for range 3 {
			if err := call(charger, consumer, usdc("1")); err != nil {
				t.Errorf("the money is not free: %v", err)
			}
		}
		drain(t, charger)
		h.wantSpent(consumer, usdc("3"))
	})
}
