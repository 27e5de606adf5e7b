package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// freeRetries is how often an answer that was too large to keep is fetched again without a charge.
const freeRetries = 3

// Idempotency implements ports.Idempotency.
type Idempotency struct{ db *sqlx.DB }

// NewIdempotency returns the Idempotency-Keys stored in db.
func NewIdempotency(db *sqlx.DB) *Idempotency { return &Idempotency{db} }

// The insert claims a key that is new, or past its retention. An abandoned claim is taken over with its event id.
const claimIdempotency = `
INSERT INTO idempotency AS i (user_id, key, fingerprint, event_id, claim, locked_until, expires_at)
VALUES ($1, $2, $3, $4, $4, clock_timestamp() + make_interval(secs => $5), clock_timestamp() + make_interval(secs => $6))
ON CONFLICT (user_id, key) DO UPDATE
SET fingerprint = excluded.fingerprint,
    event_id = CASE WHEN i.expires_at <= clock_timestamp() THEN excluded.event_id ELSE i.event_id END,
    claim = excluded.claim,
    state = 'running', locked_until = excluded.locked_until, expires_at = excluded.expires_at,
    body_hash = NULL, status_code = NULL, header = NULL, body = NULL, free_retries = 0, created_at = clock_timestamp()
WHERE i.expires_at <= clock_timestamp()
   OR (i.state = 'running' AND i.locked_until <= clock_timestamp() AND i.fingerprint = excluded.fingerprint)
RETURNING event_id`

const readIdempotency = `
SELECT fingerprint, event_id, state, body_hash, COALESCE(status_code, 0), COALESCE(header, '{}'), body
FROM idempotency WHERE user_id = $1 AND key = $2`

// Claim implements ports.Idempotency.
func (s *Idempotency) Claim(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	const tries = 3 // a key that is forgotten between the two statements is claimed anew
	for range tries {
		var event id.ID
		err := s.db.QueryRowContext(ctx, claimIdempotency, c.Consumer, c.Key, c.Fingerprint, c.Event, c.Hold.Seconds(), c.Retention.Seconds()).
			Scan(&event)
		if err == nil {
			return ports.IdempotencyState{Outcome: ports.IdempotencyClaimed, Event: event}, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return ports.IdempotencyState{}, fmt.Errorf("claim an Idempotency-Key: %w", err)
		}
		state, err := s.read(ctx, c)
		if !errors.Is(err, sql.ErrNoRows) {
			return state, err
		}
	}
	return ports.IdempotencyState{Outcome: ports.IdempotencyRunning}, nil
}

func (s *Idempotency) read(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	var (
		fingerprint, header []byte
		state               string
		out                 ports.IdempotencyState
		answer              = usage.IdempotentAnswer{Key: c.Key}
	)
	err := s.db.QueryRowContext(ctx, readIdempotency, c.Consumer, c.Key).
		Scan(&fingerprint, &out.Event, &state, &answer.BodyHash, &answer.Status, &header, &answer.Body)
	if err != nil {
		return out, fmt.Errorf("read an Idempotency-Key: %w", err)
	}
	switch {
	case !bytes.Equal(fingerprint, c.Fingerprint):
		out.Outcome = ports.IdempotencyConflict
		return out, nil
	case state == "running":
		out.Outcome = ports.IdempotencyRunning
		return out, nil
	}
	if err := json.Unmarshal(header, &answer.Header); err != nil {
		return out, fmt.Errorf("read a kept answer: %w", err)
	}
	answer.Kept = answer.Body != nil
	out.Outcome, out.Answer = ports.IdempotencyAnswered, &answer
	if answer.Kept {
		return out, nil
	}
	return s.retryFree(ctx, c, out)
}

// retryFree counts a retry whose answer has to come from the upstream again.
func (s *Idempotency) retryFree(ctx context.Context, c ports.IdempotencyClaim, out ports.IdempotencyState) (ports.IdempotencyState, error) {
	const count = `UPDATE idempotency SET free_retries = free_retries + 1
		WHERE user_id = $1 AND key = $2 AND event_id = $3 AND free_retries < $4`
	res, err := s.db.ExecContext(ctx, count, c.Consumer, c.Key, out.Event, freeRetries)
	if err != nil {
		return out, fmt.Errorf("count a free retry: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		out.Outcome, out.Answer = ports.IdempotencySpent, nil
		return out, err
	}
	return out, nil
}

// Forget implements ports.Idempotency. A key whose event was charged all the same stays.
func (s *Idempotency) Forget(ctx context.Context, consumer id.ID, key string, claim id.ID) error {
	const forget = `DELETE FROM idempotency i WHERE user_id = $1 AND key = $2 AND claim = $3 AND state = 'running'
		AND NOT EXISTS (SELECT FROM usage_events u WHERE u.id = i.event_id)`
	if _, err := s.db.ExecContext(ctx, forget, consumer, key, claim); err != nil {
		return fmt.Errorf("forget an Idempotency-Key: %w", err)
	}
	return nil
}

// Sweep removes at most limit keys past their retention and returns how many it removed.
func (s *Idempotency) Sweep(ctx context.Context, limit int) (int, error) {
	const sweep = `DELETE FROM idempotency WHERE (user_id, key) IN (
		SELECT user_id, key FROM idempotency WHERE expires_at <= clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED)`
	res, err := s.db.ExecContext(ctx, sweep, limit)
	if err != nil {
		return 0, fmt.Errorf("sweep Idempotency-Keys: %w", err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}
