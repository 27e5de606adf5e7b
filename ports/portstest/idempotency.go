package portstest

import (
	"bytes"
	"context"
	"maps"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

type idempotencyKey struct {
	consumer id.ID
	key      string
}

// idempotencyRow is a key as the database has it. Zero times are NULL.
type idempotencyRow struct {
	fingerprint         []byte
	event, claim        id.ID
	until, expiry       time.Time
	answered, repeating time.Time // when it was charged; the lease of its free repeat
	answer              usage.IdempotentAnswer
}

// AgeKeys makes everything about all Idempotency-Keys happen earlier by a time.
func (b *Bank) AgeKeys(by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, row := range b.once {
		for _, at := range []*time.Time{&row.until, &row.expiry, &row.answered, &row.repeating} {
			if !at.IsZero() {
				*at = at.Add(-by)
			}
		}
	}
}

// Claim implements ports.Idempotency.
func (b *Bank) Claim(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	var out ports.IdempotencyState
	if err := b.do(ctx, "claim", nil, func() { out = b.claim(c) }); err != nil {
		return ports.IdempotencyState{}, err
	}
	return out, nil
}

func (b *Bank) claim(c ports.IdempotencyClaim) ports.IdempotencyState {
	now, k := b.Now(), idempotencyKey{c.Consumer, c.Key}
	row := b.once[k]
	event := c.Event
	free := row == nil
	switch {
	case row == nil:
	case row.answered.IsZero():
		free = !now.Before(row.until) && bytes.Equal(row.fingerprint, c.Fingerprint)
		event = row.event
	default:
		free = !now.Before(row.expiry) && !now.Before(row.repeating)
	}
	if free {
		b.once[k] = &idempotencyRow{
			fingerprint: c.Fingerprint, event: event, claim: c.Event, until: now.Add(c.Lease), expiry: now.Add(c.Retention),
		}
		return ports.IdempotencyState{Outcome: ports.IdempotencyClaimed, Event: event}
	}
	out := ports.IdempotencyState{Event: row.event}
	switch {
	case !bytes.Equal(row.fingerprint, c.Fingerprint):
		out.Outcome = ports.IdempotencyConflict
	case row.answered.IsZero():
		out.Outcome = ports.IdempotencyRunning
	case row.answer.Kept:
		answer := row.answer
		out.Outcome, out.Answer = ports.IdempotencyAnswered, &answer
	case now.Before(row.repeating):
		out.Outcome = ports.IdempotencyRunning
	case row.repeating.IsZero() && now.Before(row.answered.Add(ports.FreeRepeat)):
		row.claim, row.repeating = c.Event, now.Add(c.Lease)
		out.Outcome = ports.IdempotencyRepeat
		out.Answer = &usage.IdempotentAnswer{BodyHash: row.answer.BodyHash, Status: row.answer.Status}
	default:
		out.Outcome = ports.IdempotencySpent
	}
	return out
}

// claimed returns the row of a key while it is in the hands of the call.
func (b *Bank) claimed(k ports.ClaimedKey) *idempotencyRow {
	row := b.once[idempotencyKey{k.Consumer, k.Key}]
	if row == nil || row.claim != k.Claim {
		return nil
	}
	return row
}

// Keep implements ports.Idempotency.
func (b *Bank) Keep(ctx context.Context, k ports.ClaimedKey, a usage.IdempotentAnswer) (kept bool, err error) {
	err = b.do(ctx, "keep", nil, func() {
		row := b.claimed(k)
		if row == nil || !row.answered.IsZero() && row.repeating.IsZero() {
			return
		}
		a.Header, a.Body = maps.Clone(a.Header), bytes.Clone(a.Body)
		row.answer, kept = a, true
		if !row.answered.IsZero() {
			row.repeating = b.Now()
		}
	})
	return kept, err
}

// Extend implements ports.Idempotency.
func (b *Bank) Extend(ctx context.Context, keys []ports.ClaimedKey, lease, retention time.Duration) (held []ports.ClaimedKey, err error) {
	err = b.do(ctx, "extend", nil, func() {
		now := b.Now()
		for _, k := range keys {
			row := b.claimed(k)
			if row == nil {
				continue
			}
			row.until, row.expiry = now.Add(lease), now.Add(retention)
			if now.Before(row.repeating) {
				row.repeating = now.Add(lease)
			}
			held = append(held, k)
		}
	})
	return held, err
}

// Release implements ports.Idempotency.
func (b *Bank) Release(ctx context.Context, k ports.ClaimedKey) error {
	return b.do(ctx, "release", nil, func() {
		row := b.claimed(k)
		switch {
		case row == nil:
		case row.answered.IsZero():
			delete(b.once, idempotencyKey{k.Consumer, k.Key})
		case b.Now().Before(row.repeating):
			row.repeating = time.Time{}
		}
	})
}

// runs returns the row of a record's key while its claim runs.
func (b *Bank) runs(r usage.Record) *idempotencyRow {
	row := b.claimed(ports.ClaimedKey{Consumer: r.UserID, Key: r.IdempotencyKey, Claim: r.IdempotencyClaim})
	if row == nil || row.event != r.ID || !row.answered.IsZero() {
		return nil
	}
	return row
}
