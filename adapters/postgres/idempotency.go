package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Idempotency implements ports.Idempotency.
type Idempotency struct {
	db      *sqlx.DB
	keeping chan struct{} // as many answers are stored at once
}

// mostKeeping is how many connections at most store answers, which are large, at once: the others are for what is small.
const mostKeeping = 4

// NewIdempotency returns the Idempotency-Keys stored in db.
func NewIdempotency(db *sqlx.DB) *Idempotency {
	most := mostKeeping
	if open := db.Stats().MaxOpenConnections; open > 0 {
		most = max(min(most, open/2), 1)
	}
	return &Idempotency{db: db, keeping: make(chan struct{}, most)}
}

// The insert claims a key that is new. It locks nothing when the key is there, however many ask.
const claimIdempotency = `
INSERT INTO idempotency (user_id, key, fingerprint, event_id, claim, locked_until, expires_at)
VALUES ($1, $2, $3, $4, $4, clock_timestamp() + make_interval(secs => $5), clock_timestamp() + make_interval(secs => $6))
ON CONFLICT DO NOTHING`

// over is the condition that a key can be claimed again: its call is dead, or its answer past its retention.
const over = `
CASE state WHEN 'running' THEN locked_until <= clock_timestamp() AND fingerprint = $3
           ELSE greatest(expires_at, repeat_until) <= clock_timestamp() END`

// A dead call's key is taken over with its event id, however old it is. What the row says once its lock is held decides, and a
// charge under way holds that lock.
const takeOverIdempotency = `
UPDATE idempotency
SET fingerprint = $3, event_id = CASE state WHEN 'running' THEN event_id ELSE $4 END,
    claim = $4, state = 'running', locked_until = clock_timestamp() + make_interval(secs => $5),
    expires_at = clock_timestamp() + make_interval(secs => $6), body_hash = NULL, status_code = NULL, header_lines = NULL,
    body = NULL, answered_at = NULL, repeat_until = NULL, created_at = clock_timestamp()
WHERE user_id = $1 AND key = $2 AND ` + over + `
RETURNING event_id`

// A repeat is offered for ports.FreeRepeat; repeating tells that one is under way.
const readIdempotency = `
SELECT fingerprint, event_id, state, body_hash, COALESCE(status_code, 0) AS status_code, header_lines,
       CASE state WHEN 'answered' THEN body END AS body,
       COALESCE(repeat_until IS NULL AND answered_at > clock_timestamp() - make_interval(secs => $4), false) AS repeatable,
       COALESCE(repeat_until > clock_timestamp(), false) AS repeating, ` + over + ` AS over
FROM idempotency WHERE user_id = $1 AND key = $2`

const repeatIdempotency = `
UPDATE idempotency SET claim = $4, repeat_until = clock_timestamp() + make_interval(secs => $5)
WHERE user_id = $1 AND key = $2 AND event_id = $3 AND state = 'answered' AND body IS NULL AND repeat_until IS NULL
  AND answered_at > clock_timestamp() - make_interval(secs => $6)`

// Claim implements ports.Idempotency.
func (s *Idempotency) Claim(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	const tries = 3 // a key that is given up between the statements is claimed anew
	for range tries {
		n, err := s.exec(ctx, claimIdempotency, c.Consumer, c.Key, c.Fingerprint, c.Event, c.Lease.Seconds(), c.Retention.Seconds())
		if err != nil {
			return ports.IdempotencyState{}, fmt.Errorf("claim an Idempotency-Key: %w", err)
		}
		if n == 1 {
			return ports.IdempotencyState{Outcome: ports.IdempotencyClaimed, Event: c.Event}, nil
		}
		state, err := s.read(ctx, c)
		if !errors.Is(err, sql.ErrNoRows) {
			return state, err
		}
	}
	return ports.IdempotencyState{Outcome: ports.IdempotencyRunning}, nil
}

// exec runs a statement and returns how many rows it changed.
func (s *Idempotency) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	res, err := s.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// read tells what became of the call that has the key, or takes the key from it.
func (s *Idempotency) read(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	var row struct {
		Fingerprint []byte `db:"fingerprint"`
		Event       id.ID  `db:"event_id"`
		State       string `db:"state"`
		BodyHash    []byte `db:"body_hash"`
		Status      int    `db:"status_code"`
		Header      []byte `db:"header_lines"`
		Body        []byte `db:"body"`
		Repeatable  bool   `db:"repeatable"`
		Repeating   bool   `db:"repeating"`
		Over        bool   `db:"over"`
	}
	if err := s.db.GetContext(ctx, &row, readIdempotency, c.Consumer, c.Key, c.Fingerprint, ports.FreeRepeat.Seconds()); err != nil {
		return ports.IdempotencyState{}, fmt.Errorf("read an Idempotency-Key: %w", err)
	}
	out := ports.IdempotencyState{Event: row.Event}
	switch {
	case row.Over:
		return s.takeOver(ctx, c)
	case !bytes.Equal(row.Fingerprint, c.Fingerprint):
		out.Outcome = ports.IdempotencyConflict
	case row.State == "running":
		out.Outcome = ports.IdempotencyRunning
	case row.Body != nil:
		out.Outcome = ports.IdempotencyAnswered
		out.Answer = &usage.IdempotentAnswer{BodyHash: row.BodyHash, Status: row.Status, Header: headerOf(row.Header), Body: row.Body, Kept: true}
	case row.Repeating:
		out.Outcome = ports.IdempotencyRunning
	case row.Repeatable:
		out.Outcome = ports.IdempotencyRepeat
		out.Answer = &usage.IdempotentAnswer{BodyHash: row.BodyHash, Status: row.Status}
		return s.repeat(ctx, c, out)
	default:
		out.Outcome = ports.IdempotencySpent
	}
	return out, nil
}

// takeOver claims a key that is over, unless another call is faster or its charge has come after all.
func (s *Idempotency) takeOver(ctx context.Context, c ports.IdempotencyClaim) (ports.IdempotencyState, error) {
	out := ports.IdempotencyState{Outcome: ports.IdempotencyClaimed}
	err := s.db.GetContext(ctx, &out.Event, takeOverIdempotency, c.Consumer, c.Key, c.Fingerprint, c.Event, c.Lease.Seconds(), c.Retention.Seconds())
	if err != nil {
		return ports.IdempotencyState{}, fmt.Errorf("take an Idempotency-Key over: %w", err)
	}
	return out, nil
}

// repeat takes the free repeat, unless another call is faster.
func (s *Idempotency) repeat(ctx context.Context, c ports.IdempotencyClaim, out ports.IdempotencyState) (ports.IdempotencyState, error) {
	n, err := s.exec(ctx, repeatIdempotency, c.Consumer, c.Key, out.Event, c.Event, c.Lease.Seconds(), ports.FreeRepeat.Seconds())
	if err != nil {
		return ports.IdempotencyState{}, fmt.Errorf("claim a free repeat: %w", err)
	}
	if n == 0 {
		out.Outcome, out.Answer = ports.IdempotencyRunning, nil // the next look tells what it is
	}
	return out, nil
}

// The commit need not wait for the disk: the charge's commit comes after it in the same log, and does. A repeat ends here.
const keepIdempotency = `
UPDATE idempotency
SET body_hash = $4, status_code = $5, header_lines = $6, body = $7,
    repeat_until = CASE WHEN state = 'answered' THEN clock_timestamp() END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS this_transaction
WHERE user_id = $1 AND key = $2 AND claim = $3 AND (state = 'running' OR repeat_until IS NOT NULL)`

// Keep implements ports.Idempotency. It waits until few enough answers are being stored.
func (s *Idempotency) Keep(ctx context.Context, k ports.ClaimedKey, a usage.IdempotentAnswer) (bool, error) {
	select {
	case s.keeping <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("keep an answer: too many are being stored: %w", ctx.Err())
	}
	defer func() { <-s.keeping }()
	var header, body []byte
	if a.Kept {
		header, body = linesOf(a.Header), a.Body
		if body == nil {
			body = []byte{} // an empty answer is kept; NULL means that it is not
		}
	}
	n, err := s.exec(ctx, keepIdempotency, k.Consumer, k.Key, k.Claim, a.BodyHash, a.Status, header, body)
	if err != nil {
		return false, fmt.Errorf("keep an answer: %w", err)
	}
	return n == 1, nil
}

// Rows are locked in one order, as the journal does it: two statements that each want many keys cannot wait in a circle.
const extendIdempotency = `
WITH held AS MATERIALIZED (
    SELECT i.user_id, i.key, i.claim
    FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS h (user_id, key, claim)
    JOIN idempotency i ON i.user_id = h.user_id AND i.key = h.key AND i.claim = h.claim
    ORDER BY i.user_id, i.key FOR UPDATE OF i
)
UPDATE idempotency i
SET locked_until = clock_timestamp() + make_interval(secs => $4),
    repeat_until = CASE WHEN i.repeat_until > clock_timestamp() THEN clock_timestamp() + make_interval(secs => $4) ELSE i.repeat_until END,
    expires_at = clock_timestamp() + make_interval(secs => $5)
FROM held h WHERE i.user_id = h.user_id AND i.key = h.key AND i.claim = h.claim
RETURNING i.user_id, i.key, i.claim`

// Extend implements ports.Idempotency.
func (s *Idempotency) Extend(ctx context.Context, keys []ports.ClaimedKey, lease, retention time.Duration) ([]ports.ClaimedKey, error) {
	consumers, names, claims := newIDArray(len(keys)), make(pq.StringArray, len(keys)), newIDArray(len(keys))
	for i, k := range keys {
		consumers.addID(k.Consumer)
		names[i] = k.Key
		claims.addID(k.Claim)
	}
	rows, err := s.db.QueryxContext(ctx, extendIdempotency, consumers.text(), names, claims.text(), lease.Seconds(), retention.Seconds())
	if err != nil {
		return nil, fmt.Errorf("extend %d claims of Idempotency-Keys: %w", len(keys), err)
	}
	defer rows.Close()
	var held []ports.ClaimedKey
	for rows.Next() {
		var k ports.ClaimedKey
		if err := rows.Scan(&k.Consumer, &k.Key, &k.Claim); err != nil {
			return nil, fmt.Errorf("extend claims of Idempotency-Keys: %w", err)
		}
		held = append(held, k)
	}
	return held, rows.Err()
}

// A repeat that was not served is offered again, while its time lasts.
const releaseIdempotency = `
WITH free AS (
    DELETE FROM idempotency WHERE user_id = $1 AND key = $2 AND claim = $3 AND state = 'running'
)
UPDATE idempotency SET repeat_until = NULL
WHERE user_id = $1 AND key = $2 AND claim = $3 AND state = 'answered' AND repeat_until > clock_timestamp()`

// Release implements ports.Idempotency.
func (s *Idempotency) Release(ctx context.Context, k ports.ClaimedKey) error {
	if _, err := s.exec(ctx, releaseIdempotency, k.Consumer, k.Key, k.Claim); err != nil {
		return fmt.Errorf("release an Idempotency-Key: %w", err)
	}
	return nil
}

// deadFor is how long a claim must have been dead before its key is swept: far longer than any charge waits to be stored.
const deadFor = time.Hour

// Sweep removes at most limit keys past their retention and returns how many it removed. A key under which a call or a
// repeat runs stays, and so does one whose call died lately.
func (s *Idempotency) Sweep(ctx context.Context, limit int) (int, error) {
	const sweep = `DELETE FROM idempotency WHERE (user_id, key) IN (
		SELECT user_id, key FROM idempotency
		WHERE expires_at <= clock_timestamp() AND CASE state
		      WHEN 'running' THEN locked_until <= clock_timestamp() - make_interval(secs => $2)
		      ELSE COALESCE(repeat_until <= clock_timestamp(), true) END
		ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)`
	n, err := s.exec(ctx, sweep, limit, deadFor.Seconds())
	if err != nil {
		return 0, fmt.Errorf("sweep Idempotency-Keys: %w", err)
	}
	return int(n), nil
}
