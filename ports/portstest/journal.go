package portstest

import (
	"context"
	"maps"
	"slices"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

func leasesOf(batch []usage.Record) (rows []id.ID) {
	for _, r := range batch {
		if !r.LeaseID.IsZero() {
			rows = append(rows, r.LeaseID)
		}
	}
	return rows
}

// Append implements ports.UsageJournal.
func (b *Bank) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	var out []ports.RecordOutcome
	var refused error
	if err := b.do(ctx, "append", leasesOf(batch), func() { out, refused = b.append(batch) }); err != nil {
		return nil, err
	}
	return out, refused
}

func (b *Bank) append(batch []usage.Record) (out []ports.RecordOutcome, err error) {
	events, used := maps.Clone(b.events), map[*bankLease]int64{}
	for _, r := range batch {
		l := b.leases[r.LeaseID]
		was, stored := b.events[r.ID]
		_, again := events[r.ID]
		switch {
		case stored && was.LeaseID == r.LeaseID:
			out = append(out, ports.Recorded)
		case again:
			out = append(out, ports.Duplicate)
		case r.IdempotencyKey != "" && b.runs(r) == nil:
			out = append(out, ports.ClaimLost)
		case !r.LeaseID.IsZero() && (l == nil || l.closed || l.epoch != r.Epoch):
			out = append(out, ports.Fenced)
		case r.Amount.IsNegative() || l != nil && l.used+used[l]+r.Amount.Stroops() > l.granted:
			return nil, ports.ErrRejected
		default:
			events[r.ID] = r
			used[l] += r.Amount.Stroops()
			out = append(out, ports.Recorded)
		}
	}
	b.events = events
	for l, n := range used {
		if l != nil {
			l.used += n
		}
	}
	b.answerKeys(batch)
	return out, nil
}

func (b *Bank) answerKeys(batch []usage.Record) {
	for _, r := range batch {
		if _, stored := b.events[r.ID]; !stored || r.IdempotencyKey == "" {
			continue
		}
		if row := b.runs(r); row != nil {
			row.answered = b.Now()
		}
	}
}

// Void implements ports.UsageJournal.
func (b *Bank) Void(ctx context.Context, batch []usage.Record) ([]id.ID, error) {
	var kept []id.ID
	if err := b.do(ctx, "void", leasesOf(batch), func() { kept = b.void(batch) }); err != nil {
		return nil, err
	}
	return kept, nil
}

func (b *Bank) void(batch []usage.Record) (kept []id.ID) {
	for _, r := range batch {
		l := b.leases[r.LeaseID]
		if l != nil {
			l.epoch = max(l.epoch, r.Epoch+1)
		}
		was, ok := b.events[r.ID]
		if !ok || was.LeaseID != r.LeaseID {
			continue
		}
		if _, booked := b.revenue[r.ID]; booked {
			kept = append(kept, r.ID)
			continue
		}
		delete(b.events, r.ID)
		if l != nil {
			l.used -= was.Amount.Stroops()
		}
		if l != nil && l.closed {
			b.vaults[l.vault].uncollected -= was.Amount.Stroops()
		}
		k := ports.ClaimedKey{Consumer: r.UserID, Key: r.IdempotencyKey, Claim: r.IdempotencyClaim}
		if row := b.claimed(k); row != nil && row.event == r.ID && !row.answered.IsZero() {
			delete(b.once, idempotencyKey{k.Consumer, k.Key})
		}
	}
	return kept
}

// Invariants implements ports.Auditor with the equations that concern what the bank keeps.
func (b *Bank) Invariants(context.Context) ([]ports.Invariant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var events, used, held, granted, uncollected, closedUsed int64
	var wrong int64
	for _, r := range b.events {
		events += r.Amount.Stroops()
	}
	for _, l := range b.leases {
		used += l.used
		if l.closed {
			closedUsed += l.used
		} else {
			granted += l.granted
		}
		if l.used > l.granted || l.used < 0 {
			wrong++
		}
	}
	for _, v := range b.vaults {
		held += v.held
		uncollected += v.uncollected
		if v.held < 0 || v.uncollected < 0 || v.snapshot-v.held-v.uncollected < 0 {
			wrong++
		}
	}
	pair := func(name string, left, right, offenders int64) ports.Invariant {
		return ports.Invariant{Name: name, Left: money.FromStroops(left), Right: money.FromStroops(right), Offenders: offenders}
	}
	return slices.Clone([]ports.Invariant{
		pair("usage", events, used, 0), pair("held", held, granted, 0), pair("uncollected", uncollected, closedUsed, 0),
		pair("bounds", 0, 0, wrong),
	}), nil
}
