package portstest

import (
	"errors"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// unknownGrantContract holds grants to what is promised when their outcome is unknown.
func unknownGrantContract(run func(name string, test func(t *testing.T, w ChargingWorld))) {
	again := func(g ports.LeaseGrant) ports.LeaseGrant {
		g.Again = true
		return g
	}
	run("a grant that is asked for again is the same lease", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(10)), w.NewID()
		g := w.grant(c, node, 1, 10, 10) // nothing is left for a second one
		first := w.mustGrant(t, g)
		more := again(g)
		more.AtLeast, more.Need, more.Want = money.FromStroops(50), money.FromStroops(50), money.FromStroops(50)
		if got := w.mustGrant(t, more); got.ID != first.ID || got.VaultID != first.VaultID || got.Granted != first.Granted {
			t.Errorf("the second time it is %+v, the first it was %+v", got, first)
		}
		w.wantBalance(t, c, 0, 10, 0)
	})
	run("a grant of which nothing was committed is granted when it is asked for again", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(10))
		if got := w.mustGrant(t, again(w.grant(c, w.NewID(), 1, 3, 3))); got.Granted.Stroops() != 3 {
			t.Errorf("granted %s", got.Granted)
		}
		if _, err := w.Leases.Grant(t.Context(), again(w.grant(c, w.NewID(), 8, 8, 8))); !errors.Is(err, vault.ErrShort) {
			t.Errorf("error %v, want ErrShort", err)
		}
		w.wantBalance(t, c, 0, 3, 0)
	})
	run("a first attempt that comes late grants nothing more", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		old := w.mustGrant(t, w.grant(c, node, 20, 20, 20))
		g := w.grant(c, node, 1, 10, 10)
		w.mustGrant(t, again(g))
		g.GiveBack = []ports.LeasePart{{Lease: old.ID, Keep: money.FromStroops(5)}}
		if l, err := w.Leases.Grant(t.Context(), g); err == nil {
			t.Errorf("granted %+v", l)
		}
		w.wantBalance(t, c, 0, 30, 0)
	})
	run("a grant that is asked for again is renewed", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(10)), w.NewID()
		g := w.grant(c, node, 1, 10, 10)
		w.mustGrant(t, g)
		w.Age(t)
		w.mustGrant(t, again(g))
		if n, err := w.Expiry.ExpireLeases(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("%d expired, %v", n, err)
		}
	})
	run("a grant whose lease has ended meanwhile says so", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(10)), w.NewID()
		g := w.grant(c, node, 1, 10, 10)
		w.mustGrant(t, g)
		w.Age(t)
		if n, err := w.Expiry.ExpireLeases(t.Context(), 10); n != 1 || err != nil {
			t.Fatalf("%d expired, %v", n, err)
		}
		if _, err := w.Leases.Grant(t.Context(), again(g)); !errors.Is(err, ports.ErrLeaseEnded) {
			t.Errorf("error %v, want ErrLeaseEnded", err)
		}
		w.wantBalance(t, c, 0, 0, 0)
	})
}

// successionContract holds a store of leases to what it promises of their successors.
func successionContract(run func(name string, test func(t *testing.T, w ChargingWorld))) {
	replace := func(t *testing.T, w ChargingWorld, node id.ID, leases ...ports.LeaseReplacement) []vault.Lease {
		t.Helper()
		open, err := w.Succession.Replace(t.Context(), node, leases, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return open
	}
	to := func(w ChargingWorld, l vault.Lease, need int64) ports.LeaseReplacement {
		return ports.LeaseReplacement{Lease: l.ID, Successor: w.NewID(), Need: money.FromStroops(need)}
	}
	run("a successor takes over what calls in flight need, the rest is free and what is used is uncollected", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100)) // all there is
		w.append(t, w.record(t, c, l, 30))
		r := to(w, l, 20)
		for range 2 { // again is the same
			open := replace(t, w, node, r)
			if len(open) != 1 || open[0].ID != r.Successor || open[0].Granted.Stroops() != 20 || open[0].ExpiresAt.IsZero() {
				t.Fatalf("successors %+v", open)
			}
			w.wantBalance(t, c, 30, 20, 0)
		}
		late, next := w.record(t, c, l, 5), w.record(t, c, vault.Lease{ID: r.Successor}, 20)
		want(t, w.append(t, late, next), ports.Fenced, ports.Recorded)
		w.wantBalance(t, c, 30, 20, 20)
		if n, err := w.Revenue.IndexRevenue(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("booked %d, %v; want what the ended lease used", n, err)
		}
	})
	run("a successor gets no more than is left", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l, used := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 50, 50, 50))
		w.append(t, w.record(t, c, l, 70), w.record(t, c, used, 50))
		open := replace(t, w, node, to(w, l, 40), to(w, used, 40))
		if len(open) != 1 || open[0].Granted.Stroops() != 30 {
			t.Errorf("successors %+v", open)
		}
		w.wantBalance(t, c, 120, 30, 0)
	})
	run("a lease without calls in flight ends without a successor", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		if open := replace(t, w, node, to(w, l, 0)); len(open) != 0 {
			t.Errorf("successors %+v", open)
		}
		w.wantBalance(t, c, 0, 0, 0)
	})
	run("only its node replaces a lease, and only an open one", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l, ended := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		if err := w.Leases.Close(t.Context(), node, []id.ID{ended.ID}); err != nil {
			t.Fatal(err)
		}
		if open := replace(t, w, node, to(w, ended, 10)); len(open) != 0 {
			t.Errorf("successors %+v", open)
		}
		if open := replace(t, w, w.NewID(), to(w, l, 10)); len(open) != 0 {
			t.Errorf("successors %+v", open)
		}
		w.wantBalance(t, c, 0, 100, 0)
	})
	run("replaced again, a successor is renewed", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		r := to(w, w.mustGrant(t, w.grant(c, node, 100, 100, 100)), 10)
		replace(t, w, node, r)
		w.Age(t)
		replace(t, w, node, r)
		if n, err := w.Expiry.ExpireLeases(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("%d expired, %v", n, err)
		}
	})
}
