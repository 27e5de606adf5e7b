package portstest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// ChargingWorld is a store of money under test, with what a test needs to set it up and to look at it.
type ChargingWorld struct {
	Leases      ports.Leases
	Succession  ports.LeaseSuccession
	Journal     ports.UsageJournal
	Expiry      ports.LeaseExpiry
	Revenue     ports.RevenueIndex
	Idempotency ports.Idempotency
	Auditor     ports.Auditor

	NewID   ports.NewID
	Fund    func(t testing.TB, balance money.Amount) (consumer id.ID) // a consumer with a vault on testnet
	Balance func(t testing.TB, consumer id.ID) vault.Balance
	Events  func(t testing.TB) map[id.ID]money.Amount
	Call    func(t testing.TB, consumer id.ID, price money.Amount) usage.Event // a call that could be charged
	Age     func(t testing.TB)                                                 // makes all open leases overdue
	AgeKeys func(t testing.TB, by time.Duration)                               // makes all of Idempotency-Keys happen earlier

	Stop       func(t testing.TB, consumer id.ID)
	Recalls    func(t testing.TB) []id.ID // the consumers, once for each message
	AgeRecalls func(t testing.TB, by time.Duration)
}

func (w ChargingWorld) grant(consumer, node id.ID, atLeast, need, want int64) ports.LeaseGrant {
	return ports.LeaseGrant{
		ID: w.NewID(), Node: node, Consumer: consumer, Network: vault.Testnet, TTL: time.Minute,
		AtLeast: money.FromStroops(atLeast), Need: money.FromStroops(need), Want: money.FromStroops(want),
	}
}

func (w ChargingWorld) mustGrant(t testing.TB, g ports.LeaseGrant) vault.Lease {
	t.Helper()
	l, err := w.Leases.Grant(t.Context(), g)
	if err != nil {
		t.Fatalf("grant: %v", err)
	}
	return l
}

func (w ChargingWorld) append(t testing.TB, batch ...usage.Record) []ports.RecordOutcome {
	t.Helper()
	out, err := w.Journal.Append(t.Context(), batch)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return out
}

func (w ChargingWorld) record(t testing.TB, consumer id.ID, lease vault.Lease, price int64) usage.Record {
	return usage.Record{Event: w.Call(t, consumer, money.FromStroops(price)), LeaseID: lease.ID}
}

func (w ChargingWorld) wantBalance(t testing.TB, consumer id.ID, uncollected, held, heldUsed int64) {
	t.Helper()
	b := w.Balance(t, consumer)
	if b.Uncollected.Stroops() != uncollected || b.Held.Stroops() != held || b.HeldUsed.Stroops() != heldUsed {
		t.Errorf("uncollected, held, used of held = %d, %d, %d; want %d, %d, %d",
			b.Uncollected.Stroops(), b.Held.Stroops(), b.HeldUsed.Stroops(), uncollected, held, heldUsed)
	}
}

// WantSound fails the test when an invariant does not hold.
func (w ChargingWorld) WantSound(t testing.TB) {
	t.Helper()
	found, err := w.Auditor.Invariants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if !i.Holds() {
			t.Errorf("%s: %s %s, %s %s, %d offenders", i.Name, i.LeftName, i.Left, i.RightName, i.Right, i.Offenders)
		}
	}
}

func want(t testing.TB, got []ports.RecordOutcome, outcomes ...ports.RecordOutcome) {
	t.Helper()
	if len(got) != len(outcomes) {
		t.Fatalf("outcomes %v, want %v", got, outcomes)
	}
	for i := range got {
		if got[i] != outcomes[i] {
			t.Fatalf("outcomes %v, want %v", got, outcomes)
		}
	}
}

// ChargingContract holds a store of money to what the ports promise.
func ChargingContract(t *testing.T, open func(t *testing.T) ChargingWorld) {
	run := func(name string, test func(t *testing.T, w ChargingWorld)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			test(t, w)
			w.WantSound(t)
		})
	}

	run("a lease sets its grant aside", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(1000))
		l := w.mustGrant(t, w.grant(c, w.NewID(), 1, 1, 100))
		if l.Granted.Stroops() != 100 || l.ExpiresAt.IsZero() {
			t.Errorf("lease %+v", l)
		}
		w.wantBalance(t, c, 0, 100, 0)
	})
	run("a vault that is short grants nothing", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(5))
		if _, err := w.Leases.Grant(t.Context(), w.grant(c, w.NewID(), 6, 6, 6)); !errors.Is(err, vault.ErrShort) {
			t.Errorf("error %v, want ErrShort", err)
		}
		w.wantBalance(t, c, 0, 0, 0)
	})
	run("a consumer without a vault is short", func(t *testing.T, w ChargingWorld) {
		if _, err := w.Leases.Grant(t.Context(), w.grant(w.NewID(), w.NewID(), 1, 1, 1)); !errors.Is(err, vault.ErrShort) {
			t.Errorf("error %v, want ErrShort", err)
		}
	})
	run("grants at once never exceed the vault", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(10))
		var wg sync.WaitGroup
		granted := make([]bool, 24)
		for i := range granted {
			wg.Go(func() {
				_, err := w.Leases.Grant(t.Context(), w.grant(c, w.NewID(), 1, 1, 1))
				granted[i] = err == nil
				if err != nil && !errors.Is(err, vault.ErrShort) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		for _, ok := range granted {
			if ok {
				n++
			}
		}
		if n != 10 {
			t.Errorf("%d single-call leases on money for 10", n)
		}
		w.wantBalance(t, c, 0, 10, 0)
	})
	run("a new lease takes back what the old one did not use", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		old := w.mustGrant(t, w.grant(c, node, 60, 60, 60))
		w.append(t, w.record(t, c, old, 10))
		g := w.grant(c, node, 70, 70, 70)
		g.GiveBack = []ports.LeasePart{{Lease: old.ID, Keep: money.FromStroops(15)}} // 10 are used, 5 set aside for a call
		w.mustGrant(t, g)
		w.wantBalance(t, c, 0, 15+70, 10)
		want(t, w.append(t, w.record(t, c, old, 5)), ports.Recorded)
	})
	run("a lease that was never used ends when it is given back", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 60, 60, 60))
		if err := w.Leases.Return(t.Context(), node, []ports.LeasePart{{Lease: l.ID}}); err != nil {
			t.Fatal(err)
		}
		w.wantBalance(t, c, 0, 0, 0)
		want(t, w.append(t, w.record(t, c, l, 5)), ports.Fenced)
	})
	run("a lease of which only what it used is left is not booked before its node closes it", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 60, 60, 60))
		r := w.record(t, c, l, 10)
		w.append(t, r) // perhaps its answer was lost
		if err := w.Leases.Return(t.Context(), node, []ports.LeasePart{{Lease: l.ID, Keep: money.FromStroops(10)}}); err != nil {
			t.Fatal(err)
		}
		w.wantBalance(t, c, 0, 10, 10)
		if n, err := w.Revenue.IndexRevenue(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("%d events are booked, %v", n, err)
		}
		if kept, err := w.Journal.Void(t.Context(), []usage.Record{r}); len(kept) != 0 || err != nil {
			t.Errorf("%v stay, %v", kept, err)
		}
		if err := w.Leases.Close(t.Context(), node, []id.ID{l.ID}); err != nil {
			t.Fatal(err)
		}
		w.wantBalance(t, c, 0, 0, 0)
	})
	run("more than is unused is not given back", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 60, 60, 60))
		w.append(t, w.record(t, c, l, 10))
		part := ports.LeasePart{Lease: l.ID, Keep: money.FromStroops(9)}
		if err := w.Leases.Return(t.Context(), node, []ports.LeasePart{part}); err != nil {
			t.Fatal(err)
		}
		part.Keep = money.FromStroops(20)
		if err := w.Leases.Return(t.Context(), w.NewID(), []ports.LeasePart{part}); err != nil { // another node's lease
			t.Fatal(err)
		}
		w.wantBalance(t, c, 0, 60, 10)
	})
	run("parts given back again are given back once, and a lease never grows", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(100)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 60, 60, 60))
		w.append(t, w.record(t, c, l, 10))
		for _, keep := range []int64{40, 40, 60, 50} {
			if err := w.Leases.Return(t.Context(), node, []ports.LeasePart{{Lease: l.ID, Keep: money.FromStroops(keep)}}); err != nil {
				t.Fatal(err)
			}
			w.wantBalance(t, c, 0, 40, 10)
		}
	})
	run("closing a lease frees the rest and leaves the used part uncollected", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		w.append(t, w.record(t, c, l, 30), w.record(t, c, l, 12))
		for range 2 { // twice changes nothing
			if err := w.Leases.Close(t.Context(), node, []id.ID{l.ID}); err != nil {
				t.Fatal(err)
			}
		}
		w.wantBalance(t, c, 42, 0, 0)
	})
	run("only its node closes or renews a lease", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		if err := w.Leases.Close(t.Context(), w.NewID(), []id.ID{l.ID}); err != nil {
			t.Fatal(err)
		}
		if open, err := w.Leases.Renew(t.Context(), w.NewID(), []id.ID{l.ID}, time.Minute); err != nil || len(open) != 0 {
			t.Errorf("renewed %v, %v", open, err)
		}
		w.wantBalance(t, c, 0, 100, 0)
		if open, err := w.Leases.Renew(t.Context(), node, []id.ID{l.ID}, time.Minute); err != nil || len(open) != 1 {
			t.Errorf("renewed %v, %v", open, err)
		}
	})
	run("the expiry pass ends overdue leases, a renewed one lives", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		dead, alive := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 50, 50, 50))
		w.append(t, w.record(t, c, dead, 7))
		w.Age(t)
		if _, err := w.Leases.Renew(t.Context(), node, []id.ID{alive.ID}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if n, err := w.Expiry.ExpireLeases(t.Context(), 10); n != 1 || err != nil {
			t.Fatalf("expired %d, %v", n, err)
		}
		w.wantBalance(t, c, 7, 50, 0)
		want(t, w.append(t, w.record(t, c, dead, 1), w.record(t, c, alive, 1)), ports.Fenced, ports.Recorded)
	})
	run("a batch makes events and money one fact, and again is once", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		batch := []usage.Record{w.record(t, c, l, 3), w.record(t, c, l, 4)}
		for range 3 {
			want(t, w.append(t, batch...), ports.Recorded, ports.Recorded)
		}
		w.wantBalance(t, c, 0, 100, 7)
		if got := w.Events(t); len(got) != 2 || got[batch[0].ID].Stroops() != 3 {
			t.Errorf("events %v", got)
		}
		if err := w.Leases.Close(t.Context(), node, []id.ID{l.ID}); err != nil {
			t.Fatal(err)
		}
		want(t, w.append(t, batch...), ports.Recorded, ports.Recorded) // the answer was lost, the lease has ended since
		w.wantBalance(t, c, 7, 0, 0)
	})
	run("an event is paid by one lease only", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		first, second := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		r := w.record(t, c, first, 3)
		again := r
		again.LeaseID = second.ID
		want(t, w.append(t, r, r), ports.Recorded, ports.Duplicate)
		want(t, w.append(t, again, w.record(t, c, second, 1)), ports.Duplicate, ports.Recorded)
		w.wantBalance(t, c, 0, 200, 4)
	})
	run("an overdraft of a lease is refused whole", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l := w.mustGrant(t, w.grant(c, node, 10, 10, 10))
		_, err := w.Journal.Append(t.Context(), []usage.Record{w.record(t, c, l, 6), w.record(t, c, l, 5)})
		if !errors.Is(err, ports.ErrRejected) {
			t.Errorf("error %v, want ErrRejected", err)
		}
		w.wantBalance(t, c, 0, 10, 0)
	})
	run("a free call needs no lease", func(t *testing.T, w ChargingWorld) {
		c := w.Fund(t, money.FromStroops(1))
		r := w.record(t, c, vault.Lease{}, 0)
		want(t, w.append(t, r), ports.Recorded)
		if got := w.Events(t); len(got) != 1 {
			t.Errorf("events %v", got)
		}
	})
	run("revenue is indexed once, from ended leases", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		l, open := w.mustGrant(t, w.grant(c, node, 100, 100, 100)), w.mustGrant(t, w.grant(c, node, 100, 100, 100))
		w.append(t, w.record(t, c, l, 3), w.record(t, c, l, 4), w.record(t, c, open, 5))
		if err := w.Leases.Close(t.Context(), node, []id.ID{l.ID}); err != nil {
			t.Fatal(err)
		}
		for _, wantNew := range []int{2, 0} {
			if n, err := w.Revenue.IndexRevenue(t.Context(), 10); n != wantNew || err != nil {
				t.Errorf("indexed %d, %v; want %d", n, err, wantNew)
			}
		}
	})
	run("revenue is indexed some leases at a time, each whole", func(t *testing.T, w ChargingWorld) {
		c, node := w.Fund(t, money.FromStroops(1000)), w.NewID()
		var leases []id.ID
		for _, calls := range []int64{1, 5, 0, 2} {
			l := w.mustGrant(t, w.grant(c, node, 100, 100, 100))
			leases = append(leases, l.ID)
			for range calls {
				w.append(t, w.record(t, c, l, 3), w.record(t, c, l, 0))
			}
		}
		if err := w.Leases.Close(t.Context(), node, leases); err != nil {
			t.Fatal(err)
		}
		var passes []int
		for range 4 {
			n, err := w.Revenue.IndexRevenue(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			passes = append(passes, n)
			w.WantSound(t)
		}
		if slices.Sort(passes[:3]); !slices.Equal(passes, []int{1, 2, 5, 0}) {
			t.Errorf("the passes booked %v; want each lease with calls in one, and then none", passes)
		}
	})
	unknownGrantContract(run)
	successionContract(run)
	recallContract(run)
	voidContract(run)
	idempotencyContract(t, open)
}
