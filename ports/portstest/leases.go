package portstest

import (
	"context"
	"errors"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Grant implements ports.Leases.
func (b *Bank) Grant(ctx context.Context, g ports.LeaseGrant) (vault.Lease, error) {
	rows := []id.ID{g.Consumer}
	for _, p := range g.GiveBack {
		rows = append(rows, p.Lease)
	}
	var out vault.Lease
	var refused error
	work := func() {
		if out, refused = b.grant(g); errors.Is(refused, ports.ErrRecalled) && b.Recalled != nil {
			b.Recalled(g.Consumer)
		}
	}
	if err := b.do(ctx, "grant", rows, work); err != nil {
		return vault.Lease{}, err
	}
	return out, refused
}

func (b *Bank) grant(g ports.LeaseGrant) (vault.Lease, error) {
	l := b.leases[g.ID]
	if l != nil && !g.Again { // an attempt that comes after the one that asked again
		return vault.Lease{}, errors.New("a lease has this id already")
	}
	b.giveBack(g.Node, g.GiveBack)
	if l != nil {
		if l.closed || l.node != g.Node {
			return vault.Lease{}, ports.ErrLeaseEnded
		}
		l.expires = b.Now().Add(g.TTL)
		return b.lease(g.ID), nil
	}
	v := b.vaults[g.Consumer]
	if v == nil {
		return vault.Lease{}, vault.ErrShort
	}
	free := v.snapshot - v.uncollected - v.held
	granted, err := vault.SizeGrant(money.FromStroops(free), g.AtLeast, g.Need, g.Want)
	if err != nil {
		return vault.Lease{}, b.short(v, free, g)
	}
	v.held += granted.Stroops()
	b.leases[g.ID] = &bankLease{vault: g.Consumer, node: g.Node, granted: granted.Stroops(), expires: b.Now().Add(g.TTL)}
	return b.lease(g.ID), nil
}

// short is the refusal of a grant.
func (b *Bank) short(v *bankVault, free int64, g ports.LeaseGrant) error {
	var idle int64
	for _, l := range b.leases {
		if l.vault == g.Consumer && !l.closed && l.node != g.Node {
			idle += l.granted - l.used
		}
	}
	switch {
	case v.stopped || idle == 0 || free+idle < g.AtLeast.Stroops():
		return vault.ErrShort
	case b.Now().Sub(v.recalled) < vault.RecallEvery:
		return vault.ErrHeld
	}
	v.recalled = b.Now()
	b.recalls = append(b.recalls, g.Consumer)
	return vault.ErrHeld.Because(ports.ErrRecalled)
}

func (b *Bank) lease(u id.ID) vault.Lease {
	l := b.leases[u]
	return vault.Lease{
		ID: u, VaultID: l.vault, Granted: money.FromStroops(l.granted), Used: money.FromStroops(l.used), ExpiresAt: l.expires,
	}
}

func (b *Bank) giveBack(node id.ID, parts []ports.LeasePart) {
	for _, p := range parts {
		l := b.leases[p.Lease]
		keep := p.Keep.Stroops()
		switch {
		case l == nil || l.closed || l.node != node || keep < l.used || keep >= l.granted:
		case keep == 0:
			b.end(l)
		default:
			b.vaults[l.vault].held -= l.granted - keep
			l.granted = keep
		}
	}
}

func (b *Bank) end(l *bankLease) {
	l.closed = true
	b.vaults[l.vault].held -= l.granted
	b.vaults[l.vault].uncollected += l.used
}

// Return implements ports.Leases.
func (b *Bank) Return(ctx context.Context, node id.ID, parts []ports.LeasePart) error {
	rows := make([]id.ID, len(parts))
	for i, p := range parts {
		rows[i] = p.Lease
	}
	return b.do(ctx, "return", rows, func() { b.giveBack(node, parts) })
}

// Renew implements ports.Leases.
func (b *Bank) Renew(ctx context.Context, node id.ID, leases []id.ID, ttl time.Duration) ([]id.ID, error) {
	var open []id.ID
	err := b.do(ctx, "renew", leases, func() {
		for _, u := range leases {
			if l := b.leases[u]; l != nil && !l.closed && l.node == node {
				l.expires = b.Now().Add(ttl)
				open = append(open, u)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return open, nil
}

// Close implements ports.Leases.
func (b *Bank) Close(ctx context.Context, node id.ID, leases []id.ID) error {
	return b.do(ctx, "close", leases, func() {
		for _, u := range leases {
			if l := b.leases[u]; l != nil && !l.closed && l.node == node {
				b.end(l)
			}
		}
	})
}

// Replace implements ports.LeaseSuccession.
func (b *Bank) Replace(ctx context.Context, node id.ID, leases []ports.LeaseReplacement, ttl time.Duration) ([]vault.Lease, error) {
	rows := make([]id.ID, len(leases))
	for i, r := range leases {
		rows[i] = r.Lease
	}
	var open []vault.Lease
	if err := b.do(ctx, "replace", rows, func() { open = b.replace(node, leases, ttl) }); err != nil {
		return nil, err
	}
	return open, nil
}

func (b *Bank) replace(node id.ID, leases []ports.LeaseReplacement, ttl time.Duration) (open []vault.Lease) {
	for _, r := range leases {
		if l := b.leases[r.Lease]; l != nil && !l.closed && l.node == node {
			b.end(l)
			if rest := min(r.Need.Stroops(), l.granted-l.used); rest > 0 {
				b.vaults[l.vault].held += rest
				b.leases[r.Successor] = &bankLease{vault: l.vault, node: node, granted: rest}
			}
		}
		if l := b.leases[r.Successor]; l != nil && !l.closed && l.node == node {
			l.expires = b.Now().Add(ttl)
			open = append(open, b.lease(r.Successor))
		}
	}
	return open
}

// ExpireLeases implements ports.LeaseExpiry. It leaves alone what another operation is just touching.
func (b *Bank) ExpireLeases(ctx context.Context, limit int) (int, error) {
	n := 0
	err := b.do(ctx, "expire", nil, func() {
		for u, l := range b.leases {
			if n < limit && !l.closed && !b.taken[u] && !b.Now().Before(l.expires) {
				b.end(l)
				n++
			}
		}
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// IndexRevenue implements ports.RevenueIndex. It leaves alone what another operation is just touching.
func (b *Bank) IndexRevenue(ctx context.Context, limit int) (int, error) {
	n := 0
	err := b.do(ctx, "index", nil, func() {
		leases := map[id.ID]bool{}
		for e, r := range b.events {
			l := b.leases[r.LeaseID]
			if _, done := b.revenue[e]; done || l == nil || !l.closed || b.taken[r.LeaseID] || r.Amount.IsZero() {
				continue
			}
			if !leases[r.LeaseID] && len(leases) == limit {
				continue
			}
			leases[r.LeaseID] = true
			b.revenue[e] = r.Amount
			n++
		}
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
