// Package money holds the one type that every sum of USDC in this system has.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Decimals is the number of decimal places of USDC on Stellar; one stroop is 10^-7.
const Decimals = 7

const unit = 10_000_000

// Errors of parsing and arithmetic. Match with errors.Is.
var (
	ErrSyntax    = errors.New("not a decimal amount such as 0.0100000")
	ErrPrecision = errors.New("more than 7 decimal places")
	ErrRange     = errors.New("outside the range of 64-bit stroops")
)

// Amount is an exact sum of USDC in stroops. The zero value is zero. Arithmetic never wraps: it reports ErrRange.
type Amount struct{ stroops int64 }

// FromStroops returns the amount of n stroops (1 USDC = 10,000,000 stroops).
func FromStroops(n int64) Amount { return Amount{n} }

// Parse reads a plain decimal ("12", "0.01", "-3.5000000"). Signs other than one leading minus, exponents, spaces,
// a bare point and more than 7 decimals are errors: money is never rounded on the way in.
func Parse(s string) (Amount, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, frac, point := strings.Cut(digits, ".")
	if whole == "" || (point && frac == "") || !allDigits(whole) || !allDigits(frac) {
		return Amount{}, fmt.Errorf("%q: %w", clip(s), ErrSyntax)
	}
	if len(frac) > Decimals {
		return Amount{}, fmt.Errorf("%q: %w", clip(s), ErrPrecision)
	}
	sign := ""
	if negative {
		sign = "-"
	}
	n, err := strconv.ParseInt(sign+whole+frac+strings.Repeat("0", Decimals-len(frac)), 10, 64)
	if err != nil {
		return Amount{}, fmt.Errorf("%q: %w", clip(s), ErrRange)
	}
	return Amount{n}, nil
}

// MustParse is Parse for constants in code and tests; it panics on an error.
func MustParse(s string) Amount {
	a, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// Stroops returns the amount in stroops, the form in which it is stored.
func (a Amount) Stroops() int64 { return a.stroops }

// IsZero reports whether a is nothing.
func (a Amount) IsZero() bool { return a.stroops == 0 }

// IsNegative reports whether a is below zero.
func (a Amount) IsNegative() bool { return a.stroops < 0 }

// Cmp returns -1, 0 or +1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int {
	switch {
	case a.stroops < b.stroops:
		return -1
	case a.stroops > b.stroops:
		return 1
	}
	return 0
}

// Less reports a < b.
func (a Amount) Less(b Amount) bool { return a.stroops < b.stroops }

// Add returns a + b, or ErrRange.
func (a Amount) Add(b Amount) (Amount, error) {
	sum := a.stroops + b.stroops
	if (sum > a.stroops) != (b.stroops > 0) {
		return Amount{}, fmt.Errorf("%s + %s: %w", a, b, ErrRange)
	}
	return Amount{sum}, nil
}

// Sub returns a - b, or ErrRange.
func (a Amount) Sub(b Amount) (Amount, error) {
	diff := a.stroops - b.stroops
	if (diff < a.stroops) != (b.stroops > 0) {
		return Amount{}, fmt.Errorf("%s - %s: %w", a, b, ErrRange)
	}
	return Amount{diff}, nil
}

// Times returns a * n, or ErrRange.
func (a Amount) Times(n int64) (Amount, error) {
	hi, lo := bits.Mul64(magnitude(a.stroops), magnitude(n))
	negative := (a.stroops < 0) != (n < 0)
	switch {
	case hi == 0 && lo <= math.MaxInt64 && !negative:
		return Amount{int64(lo)}, nil
	case hi == 0 && lo <= 1<<63 && negative:
		return Amount{-int64(lo)}, nil
	}
	return Amount{}, fmt.Errorf("%s * %d: %w", a, n, ErrRange)
}

// String returns the amount with all 7 decimals, e.g. "0.0100000": the form it has in JSON.
func (a Amount) String() string {
	b := make([]byte, 0, 24)
	if a.stroops < 0 {
		b = append(b, '-')
	}
	n := magnitude(a.stroops)
	b = strconv.AppendUint(b, n/unit, 10)
	frac := strconv.AppendUint(make([]byte, 0, Decimals+1), unit+n%unit, 10)
	frac[0] = '.' // the leading 1 kept the zeros
	return string(append(b, frac...))
}

// MarshalText writes String: JSON carries money as a decimal string, never as a number.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what Parse accepts.
func (a *Amount) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
