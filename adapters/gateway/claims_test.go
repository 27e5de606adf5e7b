package gateway

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// claimsInTime are claims of a lease of 30 s on a bank, in a test with its own time.
func claimsInTime(t *testing.T, bank *portstest.Bank, n int) (*claims, []*claim) {
	t.Helper()
	s := &claims{store: bank, log: zap.NewNop(), lease: 30 * time.Second, retention: time.Hour}
	all := make([]*claim, n)
	for i := range all {
		ask := claimOf(newID(), s)
		if got, err := bank.Claim(t.Context(), ask); err != nil || got.Outcome != ports.IdempotencyClaimed {
			t.Fatal(got, err)
		}
		all[i] = s.add(t.Context(), ask.Claimed(), time.Now())
	}
	return s, all
}

func claimOf(consumer id.ID, s *claims) ports.IdempotencyClaim {
	return ports.IdempotencyClaim{Consumer: consumer, Key: "k", Event: newID(), Lease: s.lease, Retention: s.retention}
}

func lost(all []*claim) (n int) {
	for _, c := range all {
		if c.ctx.Err() != nil {
			n++
		}
	}
	return n
}

func TestLiveClaimsAreExtendedByOneStatementForMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bank := portstest.NewBank(time.Now)
		var extensions atomic.Int64
		bank.Fail = func(op string, done bool) error {
			if op == "extend" && !done {
				extensions.Add(1)
			}
			return nil
		}
		s, all := claimsInTime(t, bank, extendMost+1)
		time.Sleep(time.Hour) // the test's own time
		if n, most := extensions.Load(), 2*int64(time.Hour/s.interval()); n > most || n < most-4 || lost(all) != 0 {
			t.Errorf("%d statements in an hour, %d claims lost", n, lost(all))
		}
		for _, c := range all {
			if got, err := bank.Claim(t.Context(), claimOf(c.Consumer, s)); err != nil || got.Outcome != ports.IdempotencyRunning {
				t.Fatalf("%+v, %v: a live call's key was taken over", got, err)
			}
			s.end(c)
		}
		synctest.Wait() // for an extension that was due at the same moment
		before := extensions.Load()
		time.Sleep(time.Hour)
		if extensions.Load() != before {
			t.Error("claims are extended after their end")
		}
	})
}

func TestAClaimThatCannotBeExtendedIsCutBeforeItCanBeTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bank := portstest.NewBank(time.Now)
		var away atomic.Bool
		bank.Fail = func(op string, _ bool) error {
			if op == "extend" && away.Load() {
				return errAway
			}
			return nil
		}
		s, all := claimsInTime(t, bank, 3)
		away.Store(true)
		time.Sleep(s.trusted() - time.Second)
		if lost(all) != 0 {
			t.Fatal("cut too early")
		}
		away.Store(false) // just in time
		time.Sleep(time.Minute)
		away.Store(true)
		time.Sleep(s.interval()) // so that the last extension is at most this old
		time.Sleep(s.trusted())
		if lost(all) != 3 {
			t.Fatal("calls live on without their claims")
		}
		for _, c := range all {
			if got, err := bank.Claim(t.Context(), claimOf(c.Consumer, s)); err != nil || got.Outcome != ports.IdempotencyRunning {
				t.Errorf("%+v, %v: taken over before its call was cut", got, err)
			}
		}
		away.Store(false)
		time.Sleep(s.lease) // a claim that was given up is not extended again
		for _, c := range all {
			if got, err := bank.Claim(t.Context(), claimOf(c.Consumer, s)); err != nil || got.Event != c.Claim && got.Outcome == ports.IdempotencyClaimed {
				t.Errorf("%+v, %v", got, err)
			}
			s.end(c)
		}
	})
}

func TestAClaimThatAnotherCallHasIsCutAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bank := portstest.NewBank(time.Now)
		s, all := claimsInTime(t, bank, 2)
		bank.AgeKeys(s.lease)
		if got, err := bank.Claim(t.Context(), claimOf(all[0].Consumer, s)); err != nil || got.Outcome != ports.IdempotencyClaimed {
			t.Fatal(got, err)
		}
		time.Sleep(s.interval() + time.Second)
		if all[0].ctx.Err() == nil || !all[0].lost.Load() || all[1].ctx.Err() != nil {
			t.Errorf("cut: %v and %v, want the first only", all[0].ctx.Err(), all[1].ctx.Err())
		}
		s.end(all[0])
		s.end(all[1])
	})
}

// A store that does not come back keeps no call alive.
func TestAStoreThatHangsCutsCallsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bank := portstest.NewBank(time.Now)
		hang := make(chan struct{})
		bank.Fail = func(op string, _ bool) error {
			if op == "extend" {
				<-hang
				return errors.New("late")
			}
			return nil
		}
		s, all := claimsInTime(t, bank, 2)
		time.Sleep(s.trusted())
		synctest.Wait()
		if lost(all) != 2 {
			t.Error("calls live on without their claims")
		}
		close(hang)
		for _, c := range all {
			s.end(c)
		}
	})
}
