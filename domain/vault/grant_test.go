package vault

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/domain/money"
)

func TestSizeGrant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                      string
		free, atLeast, need, want int64
		give                      int64
		short                     bool
	}{
		{"a rich vault grants what the near future may take", 1000, 1, 10, 100, 100, false},
		{"a poorer one grants a fraction", 400, 1, 5, 100, 50, false},
		{"but not one that leaves a rest of about a call", 400, 1, 10, 100, 10, false},
		{"near zero only what calls wait for is granted", 40, 1, 10, 100, 10, false},
		{"the rest goes to those it covers", 7, 1, 10, 100, 7, false},
		{"the last call takes the last stroop", 1, 1, 1, 100, 1, false},
		{"less than one call is short", 4, 5, 10, 100, 0, true},
		{"nothing is short even for nothing", 0, 0, 0, 0, 0, true},
		{"an overdrawn vault is short", -3, 1, 1, 1, 0, true},
		{"more need than want is still met", 1000, 1, 120, 100, 120, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := SizeGrant(money.FromStroops(tt.free), money.FromStroops(tt.atLeast), money.FromStroops(tt.need), money.FromStroops(tt.want))
			if errors.Is(err, ErrShort) != tt.short || got.Stroops() != tt.give {
				t.Errorf("granted %d, %v; want %d, short %v", got.Stroops(), err, tt.give, tt.short)
			}
		})
	}
}

func TestAGrantIsNeverMoreThanIsFreeAndServesSomebody(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := func(name string) money.Amount { return money.FromStroops(rapid.Int64Range(0, 1<<62).Draw(t, name)) }
		free, atLeast, want := amount("free"), amount("atLeast"), amount("want")
		need := money.FromStroops(rapid.Int64Range(atLeast.Stroops(), 1<<62).Draw(t, "need"))
		got, err := SizeGrant(free, atLeast, need, want)
		if err != nil {
			if !free.Less(atLeast) && !free.IsZero() {
				t.Fatalf("short with %s free for %s", free, atLeast)
			}
			return
		}
		if free.Less(got) || got.Less(atLeast) || got.IsZero() {
			t.Fatalf("granted %s of %s for at least %s", got, free, atLeast)
		}
		if got.Less(need) && got.Cmp(free) != 0 {
			t.Fatalf("granted %s, less than the need %s, though %s is free", got, need, free)
		}
	})
}

func TestSpendable(t *testing.T) {
	t.Parallel()
	b := Balance{
		Snapshot: money.FromStroops(100), Uncollected: money.FromStroops(30), Held: money.FromStroops(50), HeldUsed: money.FromStroops(20),
	}
	if got, err := b.Spendable(); err != nil || got.Stroops() != 50 {
		t.Errorf("spendable %s, %v; want 50 stroops", got, err)
	}
	b.Snapshot = money.FromStroops(-1 << 63)
	if _, err := b.Spendable(); !errors.Is(err, money.ErrRange) {
		t.Errorf("error %v, want ErrRange", err)
	}
	if NotFound(Mainnet).Message != "Vault not found for user on network 'mainnet'. Please create a vault first." {
		t.Error(NotFound(Mainnet).Message)
	}
}
