package vault

import "github.com/CalloraOrg/callora-backend/domain/money"

// richness is how many times a lease of the wanted size must fit into the free money before it is granted whole: one node
// never sets aside more than this fraction of a vault for calls it only expects.
const richness = 8

// SizeGrant decides how much of a vault's free money a lease gets.
//
//	atLeast  the cheapest waiting call; less than that is ErrShort
//	need     the sum of all waiting calls
//	want     what calls of the near future may take, judged by the recent past
//
// A rich vault grants want. A poorer one grants a fraction of what is free, as long as that covers need many times. Near
// zero the grant is need exactly, or all that is left: nothing is set aside that no call is waiting for, and no leftovers
// that are each too small for a call, so the last stroop can be spent from any node.
func SizeGrant(free, atLeast, need, want money.Amount) (money.Amount, error) {
	one := money.FromStroops(1)
	if free.Less(atLeast) || free.Less(one) {
		return money.Amount{}, ErrShort
	}
	if need.Less(one) { // an empty lease would serve nobody
		need = one
	}
	share := money.FromStroops(free.Stroops() / richness)
	switch {
	case !share.Less(want) && !want.Less(need):
		return want, nil
	case share.Stroops()/richness >= need.Stroops():
		return share, nil
	case !free.Less(need):
		return need, nil
	}
	return free, nil
}
