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
}

// maintenance is what one pass has to do in the database.
type maintenance struct {
	renew  []kept
	finish []kept
	spare  []ports.LeasePart
}

func (t *Charger) maintainLoop() {
	tick := time.NewTicker(t.cfg.MaintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ctx, cancel := context.WithTimeout(t.life, t.cfg.GrantTimeout)
			if err := t.maintain(ctx); err != nil && t.cfg.Incident != nil {
				t.cfg.Incident(Incident{Message: "leases could not be renewed or given back; the next pass tries again", Cause: err})
			}
			cancel()
		case <-t.stopMaintenance:
			return
		}
	}
}

// maintain renews the leases that calls need, and gives back what nobody needs.
func (t *Charger) maintain(ctx context.Context) error {
	var c maintenance
	t.accounts.Range(func(key, v any) bool {
		if v.(*account).maintain(t.now(), &c) {
			t.accounts.Delete(key)
		}
		return true
	})
	var spare error
	if len(c.spare) > 0 {
		spare = t.leases.Return(ctx, t.node, c.spare) // when it fails, the leases' close gives the rest back
	}
	return errors.Join(t.renew(ctx, c.renew), spare, t.end(ctx, c.finish))
}

// maintain adds what the account needs to the maintenance, and reports whether the account itself can be forgotten.
func (a *account) maintain(now time.Time, c *maintenance) (forget bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retireStale(now)
	for _, l := range a.leases {
		if l.finished() {
			l.closing = true
			c.finish = append(c.finish, kept{a, l})
			continue
		}
		if part, ok := l.spare(); ok {
			c.spare = append(c.spare, part)
		}
		if !l.lost && !l.closing && now.After(l.stopAt.Add(-a.charger.cfg.LeaseTTL/4)) {
			c.renew = append(c.renew, kept{a, l})
		}
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
		if !open[k.lease.id] {
			k.account.lose(k.lease)
			continue
		}
		k.account.mu.Lock()
		k.lease.stopAt = asked.Add(t.cfg.LeaseTTL / 2)
		k.account.mu.Unlock()
	}
	return nil
}

// end closes leases in the database and forgets them. On an error they stay and are closed by a later pass.
func (t *Charger) end(ctx context.Context, leases []kept) error {
	if len(leases) == 0 {
		return nil
	}
	err := t.leases.Close(ctx, t.node, ids(leases))
	for _, k := range leases {
		k.account.mu.Lock()
		k.lease.closing = false
		if err == nil {
			delete(k.account.leases, k.lease.id)
		}
		k.account.mu.Unlock()
	}
	return err
}

// giveAllBack closes every lease that no call holds.
func (t *Charger) giveAllBack(ctx context.Context) error {
	now := t.now()
	var finished []kept
	t.accounts.Range(func(_, v any) bool {
		a := v.(*account)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.current != nil {
			a.retire(a.current, now)
		}
		for _, l := range a.leases {
			if l.finished() {
				l.closing = true
				finished = append(finished, kept{a, l})
			}
		}
		return true
	})
	return t.end(ctx, finished)
}

func ids(leases []kept) []id.ID {
	out := make([]id.ID, len(leases))
	for i, k := range leases {
		out[i] = k.lease.id
	}
	return out
}
