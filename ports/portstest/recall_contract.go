package portstest

import (
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// recallContract holds a store of leases to what it promises about money that other nodes may have idle.
func recallContract(run func(name string, test func(t *testing.T, w ChargingWorld))) {
	wantShort := func(t *testing.T, w ChargingWorld, g ports.LeaseGrant, held, told bool) {
		t.Helper()
		_, err := w.Leases.Grant(t.Context(), g)
		if !errors.Is(err, vault.ErrShort) || errors.Is(err, vault.ErrHeld) != held || errors.Is(err, ports.ErrRecalled) != told {
			t.Errorf("error %v, want a short one; held elsewhere: %v, nodes told: %v", err, held, told)
		}
	}
	wantRecalls := func(t *testing.T, w ChargingWorld, consumers ...id.ID) {
		t.Helper()
		got := w.Recalls(t)
		if len(got) != len(consumers) {
			t.Fatalf("%d messages, want %d", len(got), len(consumers))
		}
		for i := range got {
			if got[i] != consumers[i] {
				t.Errorf("recalled of %s, want %s", got[i], consumers[i])
			}
		}
	}
	run("money that another node may have idle is recalled, once in a while", func(t *testing.T, w ChargingWorld) {
		c, b := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(c, w.NewID(), 90, 90, 90))
		w.append(t, w.record(t, c, l, 30))
		wantShort(t, w, w.grant(c, b, 70, 70, 70), true, true) // 10 are free, and 60 unused elsewhere
		for range 3 {
			wantShort(t, w, w.grant(c, b, 70, 70, 70), true, false)
			wantShort(t, w, w.grant(c, w.NewID(), 11, 11, 11), true, false) // whoever asks
		}
		wantRecalls(t, w, c)
		w.AgeRecalls(t, vault.RecallEvery)
		wantShort(t, w, w.grant(c, b, 70, 70, 70), true, true)
		wantRecalls(t, w, c, c)
		w.wantBalance(t, c, 0, 90, 30)
	})
	run("of many that are short at once, one recalls", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(100))
		w.mustGrant(t, w.grant(c, w.NewID(), 100, 100, 100))
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				if _, err := w.Leases.Grant(t.Context(), w.grant(c, w.NewID(), 1, 1, 1)); !errors.Is(err, vault.ErrHeld) {
					t.Errorf("error %v, want ErrHeld", err)
				}
			})
		}
		wg.Wait()
		wantRecalls(t, w, c)
	})
	run("what cannot help is not recalled", func(t *testing.T, w ChargingWorld) {
		c, a, b := w.Fund(t, money.FromStroops(100)), w.NewID(), w.NewID()
		l := w.mustGrant(t, w.grant(c, a, 60, 60, 60))
		wantShort(t, w, w.grant(c, a, 41, 41, 41), false, false)    // what it has itself
		wantShort(t, w, w.grant(c, b, 101, 101, 101), false, false) // more than there is
		more := int64(math.MaxInt64)
		wantShort(t, w, w.grant(c, b, more, more, more), false, false)
		w.append(t, w.record(t, c, l, 60))
		wantShort(t, w, w.grant(c, b, 41, 41, 41), false, false) // it is spent
		closed := w.mustGrant(t, w.grant(c, a, 40, 40, 40))
		w.append(t, w.record(t, c, closed, 40))
		if err := w.Leases.Close(t.Context(), a, []id.ID{l.ID, closed.ID}); err != nil {
			t.Fatal(err)
		}
		wantShort(t, w, w.grant(c, b, 1, 1, 1), false, false) // the vault is empty
		wantShort(t, w, w.grant(w.NewID(), b, 1, 1, 1), false, false)
		wantRecalls(t, w)
	})
	run("other vaults' money is not recalled", func(t *testing.T, w ChargingWorld) {
		c, other := w.Fund(t, money.FromStroops(1)), w.Fund(t, money.FromStroops(100))
		w.mustGrant(t, w.grant(other, w.NewID(), 100, 100, 100))
		wantShort(t, w, w.grant(c, w.NewID(), 2, 2, 2), false, false)
		wantRecalls(t, w)
	})
	run("a stopped vault recalls nothing", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(100))
		w.mustGrant(t, w.grant(c, w.NewID(), 100, 100, 100))
		w.Stop(t, c)
		wantShort(t, w, w.grant(c, w.NewID(), 1, 1, 1), false, false)
		wantRecalls(t, w)
	})
	run("what is given back serves whoever was short", func(t *testing.T, w ChargingWorld) {
		c, a, b := w.Fund(t, money.FromStroops(100)), w.NewID(), w.NewID()
		l := w.mustGrant(t, w.grant(c, a, 100, 100, 100))
		w.append(t, w.record(t, c, l, 30))
		wantShort(t, w, w.grant(c, b, 20, 20, 20), true, true)
		if err := w.Leases.Return(t.Context(), a, []ports.LeasePart{{Lease: l.ID, Keep: money.FromStroops(80)}}); err != nil { // 50 for a call in flight
			t.Fatal(err)
		}
		w.mustGrant(t, w.grant(c, b, 20, 20, 20))
		want(t, w.append(t, w.record(t, c, l, 50)), ports.Recorded)
		w.wantBalance(t, c, 0, 100, 80)
	})
}
