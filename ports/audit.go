package ports

import (
	"context"

	"github.com/CalloraOrg/callora-backend/domain/money"
)

// Auditor proves the money's invariants on the stored facts.
type Auditor interface {
	// Invariants evaluates all of them on one consistent snapshot, while the system may be running.
	Invariants(ctx context.Context) ([]Invariant, error)
}

// Invariant is one equation between stored sums.
type Invariant struct {
	Name      string
	LeftName  string
	Left      money.Amount
	RightName string
	Right     money.Amount
	Offenders int64 // rows for which it does not hold, also where errors cancel out in the sums
}

// Holds reports whether the equation is true for every row.
func (i Invariant) Holds() bool { return i.Offenders == 0 && i.Left.Cmp(i.Right) == 0 }
