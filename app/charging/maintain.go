package charging

import (
	"context"
	"errors"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// kept is a lease with its account, for work on many accounts in one statement.
type kept struct {
	account *account
	lease   *lease
	id      id.ID // the lease's at that moment
}

// maintenance is what one pass has to do in the database.
type maintenance struct {
	renew   []kept
	finish  []kept
	spare   []part
	replace map[*shard][]kept
}

type part struct {
	account *account
	part    ports.LeasePart
}

func (t *Charger) maintainLoop() {
	tick := time.NewTicker(t.cfg.MaintainEvery)
	defer tick.Stop()
	for {
		pass := t.maintain
		select {
		case <-tick.C:
		case <-t.recalls.some:
			pass = t.giveRecalled
		case <-t.stopMaintenance:
			return
		}
		ctx, cancel := context.WithTimeout(t.life, t.cfg.GrantTimeout)
		if err := pass(ctx); err != nil {
			t.untended(err)
		}
		cancel()
	}
}

func (t *Charger) untended(err error) {
	if t.cfg.Incident != nil {
		t.cfg.Incident(Incident{Message: "leases could not be renewed or given back; the next pass tries again", Cause: err})
	}
}

// maintain renews the leases that calls need, and gives back what nobody needs.
func (t *Charger) maintain(ctx context.Context) error {
	c := maintenance{replace: map[*shard][]kept{}}
	t.accounts.Range(func(key, v any) bool {
		if v.(*account).maintain(t.now(), &c) {
			t.accounts.Delete(key)
		}
		return true
	})
	renewing := t.renew(ctx, c.renew)
	_, returning := t.giveBack(ctx, c.spare)
	err := errors.Join(renewing, returning, t.finish(ctx, c.finish))
	for s, leases := range c.replace {
		s.replaceSoon(leases)
	}
	return err
}

// maintain adds what the account needs to the maintenance, and reports whether the account itself can be forgotten.
func (a *account) maintain(now time.Time, c *maintenance) (forget bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retireStale(now)
	for _, l := range a.leases {
		k := kept{a, l, l.id}
		switch {
		case l.finished():
			l.closing = true
			c.finish = append(c.finish, k)
			continue
		case l.pins(now, a.charger.cfg.LeaseMaxAge), !l.successor.IsZero() && !l.moving:
			l.moving = true
			c.replace[a.shard] = append(c.replace[a.shard], k)
			continue
		}
		if p, ok := l.spare(); ok {
			c.spare = append(c.spare, part{a, p})
		}
		if l.settled() && now.After(l.stopAt.Add(-a.charger.cfg.LeaseTTL/4)) {
			c.renew = append(c.renew, k)
		}
	}
	if !a.unknown.IsZero() && !a.refilling {
		a.refilling = true
		a.charger.background.Go(func() { a.refill(true) })
	}
	a.dead = len(a.leases) == 0 && len(a.waiting) == 0 && !a.refilling
	return a.dead
}

// retireStale takes the current lease out of service when nobody draws on it or when it is old. The caller holds the mutex.
func (a *account) retireStale(now time.Time) {
	l := a.current
	if l == nil {
		return
	}
	if now.Sub(l.drawn) >= a.charger.cfg.LeaseIdle || now.Sub(l.born) >= a.charger.cfg.LeaseMaxAge {
		a.retire(l, now)
	}
}

func (t *Charger) renew(ctx context.Context, leases []kept) error {
	if len(leases) == 0 {
		return nil
	}
	asked := t.now()
	renewed, err := t.leases.Renew(ctx, t.node, ids(leases), t.cfg.LeaseTTL)
	if err != nil {
		return err
	}
	open := make(map[id.ID]bool, len(renewed))
	for _, u := range renewed {
		open[u] = true
	}
	for _, k := range leases {
		k.account.renewed(k, open[k.id], asked)
	}
	return nil
}

func (a *account) renewed(k kept, open bool, asked time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case k.lease.id != k.id: // replaced meanwhile
	case open:
		k.lease.stopAt = asked.Add(a.charger.cfg.LeaseTTL / 2)
	default:
		a.drop(k.lease)
	}
}

// giveBack returns how many stroops went back.
func (t *Charger) giveBack(ctx context.Context, spare []part) (back int64, err error) {
	if len(spare) == 0 {
		return 0, nil
	}
	parts := make([]ports.LeasePart, len(spare))
	for i, p := range spare {
		parts[i] = p.part
	}
	if err := t.leases.Return(ctx, t.node, parts); err != nil {
		return 0, err // the next pass says it again
	}
	for _, p := range spare {
		p.account.mu.Lock()
		back += p.account.returned([]ports.LeasePart{p.part})
		p.account.mu.Unlock()
	}
	return back, nil
}

// finish closes leases in the database and forgets them. On an error they stay and are closed by a later pass.
func (t *Charger) finish(ctx context.Context, leases []kept) error {
	if len(leases) == 0 {
		return nil
	}
	err := t.leases.Close(ctx, t.node, ids(leases))
	for _, k := range leases {
		k.account.mu.Lock()
		k.lease.closing = false
		if err == nil {
			delete(k.account.leases, k.id)
		}
		k.account.mu.Unlock()
	}
	return err
}

// giveAllBack closes every lease that no call holds, those too of which it is not known yet whether they are there.
func (t *Charger) giveAllBack(ctx context.Context) error {
	now := t.now()
	var finished []kept
	unknown := map[*shard][]kept{}
	t.accounts.Range(func(_, v any) bool {
		a := v.(*account)
		a.refill(true)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.current != nil {
			a.retire(a.current, now)
		}
		for _, l := range a.leases {
			if !l.successor.IsZero() {
				unknown[a.shard] = append(unknown[a.shard], kept{a, l, l.id})
			}
		}
		return true
	})
	var errs []error
	for s, leases := range unknown { // the shards have stopped
		errs = append(errs, s.replace(leases))
	}
	t.accounts.Range(func(_, v any) bool {
		a := v.(*account)
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, l := range a.leases {
			if l.moving = false; l.finished() {
				l.closing = true
				finished = append(finished, kept{a, l, l.id})
			}
		}
		return true
	})
	return errors.Join(append(errs, t.finish(ctx, finished))...)
}

func ids(leases []kept) []id.ID {
	out := make([]id.ID, len(leases))
	for i, k := range leases {
		out[i] = k.id
	}
	return out
}
