package money

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseReadsPlainDecimalsOnly(t *testing.T) {
	t.Parallel()
	for give, want := range map[string]int64{
		"0": 0, "12": 120_000_000, "0.01": 100_000, "0.0000001": 1, "-3.5000000": -35_000_000, "-0": 0, "007": 70_000_000,
		"922337203685.4775807": math.MaxInt64, "-922337203685.4775808": math.MinInt64,
	} {
		if got, err := Parse(give); err != nil || got.Stroops() != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", give, got.Stroops(), err, want)
		}
	}
	for give, want := range map[string]error{
		"": ErrSyntax, "-": ErrSyntax, ".": ErrSyntax, ".5": ErrSyntax, "5.": ErrSyntax, "1e3": ErrSyntax, "0x10": ErrSyntax, " 5": ErrSyntax,
		"5 ": ErrSyntax, "+5": ErrSyntax, "--5": ErrSyntax, "1,5": ErrSyntax, "NaN": ErrSyntax, "Inf": ErrSyntax, "1_000": ErrSyntax, "1.2.3": ErrSyntax,
		"\u0665": ErrSyntax, "0.00000001": ErrPrecision, "1.12345678": ErrPrecision, "922337203685.4775808": ErrRange, "99999999999999999999": ErrRange,
		strings.Repeat("9", 5000): ErrRange,
	} {
		_, err := Parse(give)
		if !errors.Is(err, want) {
			t.Errorf("Parse(%q): %v, want %v", give, err, want)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("Parse of %d bytes fails in %d bytes", len(give), len(err.Error()))
		}
	}
}

func TestTextRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := FromStroops(rapid.Int64().Draw(t, "stroops"))
		if back, err := Parse(a.String()); err != nil || back != a {
			t.Fatalf("%s comes back as %s, %v", a, back, err)
		}
		doc, err := json.Marshal(map[string]Amount{"a": a})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]Amount
		if err := json.Unmarshal(doc, &back); err != nil || back["a"] != a {
			t.Fatalf("%s comes back as %v, %v", doc, back, err)
		}
	})
	var a Amount
	if json.Unmarshal([]byte(`0.5`), &a) == nil || json.Unmarshal([]byte(`"0.00000001"`), &a) == nil {
		t.Error("a JSON number or an eighth decimal was accepted")
	}
}

func TestArithmeticIsExactOrAnError(t *testing.T) {
	t.Parallel()
	edge := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, math.MinInt64 + 1}))
	rapid.Check(t, func(t *rapid.T) {
		x, y := edge.Draw(t, "x"), edge.Draw(t, "y")
		a, b, bx, by := FromStroops(x), FromStroops(y), big.NewInt(x), big.NewInt(y)
		check := func(op string, got Amount, err error, want *big.Int) {
			if want.IsInt64() != (err == nil) || (err == nil && got.Stroops() != want.Int64()) {
				t.Fatalf("%d %s %d = %d, %v; want %s", x, op, y, got.Stroops(), err, want)
			}
		}
		sum, err := a.Add(b)
		check("+", sum, err, new(big.Int).Add(bx, by))
		diff, err := a.Sub(b)
		check("-", diff, err, new(big.Int).Sub(bx, by))
		product, err := a.Times(y)
		check("*", product, err, new(big.Int).Mul(bx, by))
		if a.Cmp(b) != bx.Cmp(by) || a.Less(b) != (x < y) || a.IsZero() != (x == 0) || a.IsNegative() != (x < 0) {
			t.Fatalf("%d and %d are compared wrongly", x, y)
		}
	})
}

func TestMustParsePanicsOnNonsense(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	if MustParse("1.5").Stroops() != 15_000_000 {
		t.Error("1.5 is read wrongly")
	}
	MustParse("one")
}
