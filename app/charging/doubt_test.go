package charging

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// What a node gives back of a lease, or asks for beside it, says nothing of a charge whose fate it does not know.
func TestALeaseWithAChargeInDoubtIsNotEndedByWhatIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		consumer := newID()
		h.bank.Fund(consumer, usdc("1000"))
		var away atomic.Bool
		var returned atomic.Int64
		h.bank.Fail = func(op string, done bool) error {
			switch {
			case op == "return" && done:
				returned.Add(1)
			case away.Load() && (op == "void" || op == "append" && done):
				return errAway
			}
			return nil
		}
		charger := h.node(nil)
		if err := call(charger, consumer, usdc("1")); err != nil {
			t.Fatal(err)
		}
		away.Store(true)
		if err := call(charger, consumer, usdc("1")); !errors.Is(err, usage.ErrNotRecorded) {
			t.Errorf("the call ended with %v", err)
		}
		time.Sleep(5 * time.Second) // nobody draws on the lease: what is left of it is given back
		if len(h.bank.Events()) != 2 || returned.Load() == 0 {
			t.Fatal("the doubtful event is not there, or nothing was given back: the test tests nothing")
		}
		if _, err := h.bank.IndexRevenue(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		away.Store(false)
		time.Sleep(3 * time.Second)
		drain(t, charger)
		h.wantSpent(consumer, usdc("1"))
		for _, i := range h.incidents {
			if len(i.Events) > 0 {
				t.Errorf("an incident: %s", i.Message)
			}
		}
	})
}
