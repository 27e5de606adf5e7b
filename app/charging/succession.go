package charging

import (
	"context"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// replaceSoon hands the shard leases that calls in flight keep from ending. It replaces them between two batches, as the
// only writer for them: no record is then under way.
func (s *shard) replaceSoon(leases []kept) {
	s.mu.Lock()
	s.moving = append(s.moving, leases...)
	s.mu.Unlock()
	s.nudge()
}

func (s *shard) replaceDue() {
	s.mu.Lock()
	due := s.moving
	s.moving = nil
	s.mu.Unlock()
	if err := s.replace(due); err != nil {
		s.charger.untended(err)
	}
}

// replace moves the holds on leases to their successors. When the outcome is unknown the next attempt asks for the same.
func (s *shard) replace(leases []kept) error {
	if len(leases) == 0 {
		return nil
	}
	t := s.charger
	asked := make([]ports.LeaseReplacement, len(leases))
	for i, k := range leases {
		asked[i] = k.account.moves(k.lease)
	}
	var open []vault.Lease
	var err error
	start := t.now()
	s.ask(func(ctx context.Context) { open, err = t.leases.Replace(ctx, t.node, asked, t.cfg.LeaseTTL) })
	found := make(map[id.ID]vault.Lease, len(open))
	for _, l := range open {
		found[l.ID] = l
	}
	for i, k := range leases {
		a, l := k.account, k.lease
		a.mu.Lock()
		l.moving = false
		if got, ok := found[asked[i].Successor]; ok {
			delete(a.leases, l.id)
			l.succeed(got, start, t.cfg.LeaseTTL)
			a.leases[l.id] = l
		} else if err == nil {
			l.lost, l.successor = true, id.ID{}
		}
		a.mu.Unlock()
	}
	return err
}

// moves says what the holds on a lease need of its successor.
func (a *account) moves(l *lease) ports.LeaseReplacement {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.successor.IsZero() {
		l.successor = a.charger.newID()
	}
	return ports.LeaseReplacement{Lease: l.id, Successor: l.successor, Need: money.FromStroops(l.reserved)}
}

// succession finds out what became of the leases of entries that were refused while it was unknown whether they had been
// replaced.
func (s *shard) succession(refused []*entry) error {
	var unknown []kept
	seen := map[*lease]bool{}
	for _, n := range refused {
		if l := n.hold.lease; !seen[l] && !l.successor.IsZero() {
			seen[l] = true
			unknown = append(unknown, kept{n.hold.account, l, l.id})
		}
	}
	return s.replace(unknown)
}
