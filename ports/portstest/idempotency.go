package portstest

import (
	"bytes"
	"context"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

type idempotencyKey struct {
	consumer id.ID
	key      string
}

type idempotencyRow struct {
	claim         ports.IdempotencyClaim
	event         id.ID
	until, expiry time.Time
	answer        *usage.IdempotentAnswer
	retries       int
}

const bankFreeRetries = 3

// Claim implements ports.Idempotency.
func (b *Bank) Claim(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	var out ports.IdempotencyState
	err := b.do(ctx, "claim", nil, func() {
		now := b.Now()
		k := idempotencyKey{c.Consumer, c.Key}
		row := b.once[k]
		fresh := row == nil || !now.Before(row.expiry)
		abandoned := !fresh && row.answer == nil && !now.Before(row.until) && bytes.Equal(row.claim.Fingerprint, c.Fingerprint)
		switch {
		case fresh || abandoned:
			event := c.Event
			if abandoned {
				event = row.event
			}
			b.once[k] = &idempotencyRow{claim: c, event: event, until: now.Add(c.Hold), expiry: now.Add(c.Retention)}
			out = ports.IdempotencyState{Outcome: ports.IdempotencyClaimed, Event: event}
		case !bytes.Equal(row.claim.Fingerprint, c.Fingerprint):
			out = ports.IdempotencyState{Outcome: ports.IdempotencyConflict, Event: row.event}
		case row.answer == nil:
			out = ports.IdempotencyState{Outcome: ports.IdempotencyRunning, Event: row.event}
		case !row.answer.Kept && row.retries == bankFreeRetries:
			out = ports.IdempotencyState{Outcome: ports.IdempotencySpent, Event: row.event}
		default:
			if !row.answer.Kept {
				row.retries++
			}
			out = ports.IdempotencyState{Outcome: ports.IdempotencyAnswered, Event: row.event, Answer: row.answer}
		}
	})
	if err != nil {
		return ports.IdempotencyState{}, err
	}
	return out, nil
}

// Forget implements ports.Idempotency.
func (b *Bank) Forget(ctx context.Context, consumer id.ID, key string, claim id.ID) error {
	return b.do(ctx, "forget", nil, func() {
		k := idempotencyKey{consumer, key}
		row := b.once[k]
		if row == nil || row.answer != nil || row.claim.Event != claim {
			return
		}
		if _, charged := b.events[row.event]; !charged {
			delete(b.once, k)
		}
	})
}
