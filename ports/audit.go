package ports

import (
	"context"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/money"
)

// Auditor proves the money's invariants on the stored facts.
type Auditor interface {
	// Invariants evaluates all of them, while the system may be running. What has been proven of days that cannot change
	// any more is trusted.
	Invariants(ctx context.Context) ([]Invariant, error)
}

// Invariant is one equation between stored sums.
type Invariant struct {
	Name      string
	LeftName  string
	Left      money.Amount
	RightName string
	Right     money.Amount
	Offenders int64    // rows for which it does not hold, also where errors cancel out in the sums
	Days      []string // where they are, as far as that is known: a day of UTC and what is wrong with it
}

// Holds reports whether the equation is true for every row.
func (i Invariant) Holds() bool { return i.Offenders == 0 && i.Left.Cmp(i.Right) == 0 }

// AuditReport is what an audit has found, and how far it had to look.
type AuditReport struct {
	Invariants []Invariant
	Sealed     int       // days that are trusted from now on
	SealedTo   time.Time // the last of them; zero when there is none
	Chain      string    // hex; it stands for all that is sealed, and changes with any of it
	Read       int64     // usage events that were read
	Notes      []string  // what is no drift, but should be known
}
