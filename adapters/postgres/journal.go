package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Journal implements ports.UsageJournal.
type Journal struct {
	db     *sqlx.DB
	append prepared
}

// NewJournal returns the journal stored in db.
func NewJournal(db *sqlx.DB) *Journal { return &Journal{db: db, append: prepared{query: appendUsage}} }

// The usage events and what they take from their leases are one statement. Locking the open leases first is the fence: a
// lease that the expiry pass closes a moment earlier is not in `open`, so neither its events nor its money are written.
// Only rows that are really new (RETURNING) move money, which makes a batch safe to send again.
const appendUsage = `
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[],
                         $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
        AS t (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_ms)
), open AS MATERIALIZED (
    SELECT id FROM leases WHERE id = ANY ($11::uuid[]) AND state = 'open' ORDER BY id FOR UPDATE
), written AS (
    INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
    SELECT id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code::smallint, latency_us,
           to_timestamp(occurred_ms / 1000.0::float8)
    FROM new WHERE lease_id IS NULL OR lease_id IN (SELECT id FROM open)
    ON CONFLICT DO NOTHING
    RETURNING lease_id, amount
), paid AS (
    UPDATE leases l SET used = l.used + s.amount
    FROM (SELECT lease_id, sum(amount)::bigint AS amount FROM written WHERE lease_id IS NOT NULL GROUP BY lease_id) s
    WHERE l.id = s.lease_id
)
SELECT count(*) FROM written`

// Append implements ports.UsageJournal.
func (j *Journal) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	stmt, err := j.append.on(ctx, j.db)
	if err != nil {
		return nil, fmt.Errorf("prepare to append usage events: %w", err)
	}
	args := appendArgs(batch)
	outcomes := make([]ports.RecordOutcome, len(batch))
	run := func(stmt *sqlx.Stmt, q sqlx.ExtContext) error {
		var written int
		if err := stmt.QueryRowContext(ctx, args...).Scan(&written); err != nil {
			return fmt.Errorf("append %d usage events: %w", len(batch), err)
		}
		if written == len(batch) {
			clear(outcomes)
			return nil
		}
		return classify(ctx, q, batch, outcomes)
	}
	if answers := idempotentAnswers(batch); len(answers) == 0 {
		err = run(stmt, j.db) // a single statement is its own transaction: no round trips for begin and commit
	} else {
		err = inTx(ctx, j.db, func(tx *sqlx.Tx) error {
			if err := run(tx.StmtxContext(ctx, stmt), tx); err != nil {
				return err
			}
			return keepAnswers(ctx, tx, answers, batch, outcomes)
		})
	}
	if err != nil {
		return nil, rejected(err)
	}
	return outcomes, nil
}

func appendArgs(batch []usage.Record) []any {
	n := len(batch)
	ids, leases, users, apis, endpoints, keys := newIDArray(n), newIDArray(n), newIDArray(n), newIDArray(n), newIDArray(n), newIDArray(n)
	amounts, statuses, latencies, times := newIntArray(n), newIntArray(n), newIntArray(n), newIntArray(2*n)
	distinct, seen := newIDArray(4), make(map[id.ID]struct{}, 4)
	for i := range batch {
		r := &batch[i]
		ids.addID(r.ID)
		leases.addID(r.LeaseID)
		users.addID(r.UserID)
		apis.addID(r.APIID)
		endpoints.addID(r.EndpointID)
		keys.addID(r.KeyID)
		amounts.addInt(r.Amount.Stroops())
		statuses.addInt(int64(r.Status))
		latencies.addInt(max(r.Latency.Microseconds(), 0))
		times.addInt(r.OccurredAt.UnixMilli())
		if _, ok := seen[r.LeaseID]; !ok && !r.LeaseID.IsZero() {
			seen[r.LeaseID] = struct{}{}
			distinct.addID(r.LeaseID)
		}
	}
	return []any{
		ids.text(), leases.text(), users.text(), apis.text(), endpoints.text(), keys.text(),
		amounts.text(), statuses.text(), latencies.text(), times.text(), distinct.text(),
	}
}

// nobody is the payer of a repeated record: no lease has this id.
var nobody = id.ID{0xff}

// classify tells, when not every record was new, which are on disk and who paid for them.
func classify(ctx context.Context, q sqlx.ExtContext, batch []usage.Record, outcomes []ports.RecordOutcome) error {
	ids := newIDArray(len(batch))
	for i := range batch {
		ids.addID(batch[i].ID)
	}
	rows, err := q.QueryxContext(ctx, `SELECT id, lease_id FROM usage_events WHERE id = ANY ($1::uuid[])`, ids.text())
	if err != nil {
		return fmt.Errorf("classify %d usage events: %w", len(batch), err)
	}
	defer rows.Close()
	payer := make(map[id.ID]id.ID, len(batch))
	for rows.Next() {
		var event, lease id.ID
		if err := rows.Scan(&event, &lease); err != nil {
			return fmt.Errorf("classify usage events: %w", err)
		}
		payer[event] = lease
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("classify usage events: %w", err)
	}
	for i := range batch {
		lease, stored := payer[batch[i].ID]
		switch {
		case !stored:
			outcomes[i] = ports.Fenced
		case lease == batch[i].LeaseID:
			outcomes[i] = ports.Recorded
			payer[batch[i].ID] = nobody // the same event a second time in one batch paid nothing
		default:
			outcomes[i] = ports.Duplicate
		}
	}
	return nil
}

// idempotentAnswers returns the positions of the records that carry an answer to keep.
func idempotentAnswers(batch []usage.Record) []int {
	var at []int
	for i := range batch {
		if batch[i].Idempotent != nil {
			at = append(at, i)
		}
	}
	return at
}

const keepAnswer = `
UPDATE idempotency
SET state = 'answered', body_hash = $4, status_code = $5, header = $6, body = $7
WHERE user_id = $1 AND key = $2 AND event_id = $3 AND state = 'running'`

// keepAnswers stores the answers to calls with an Idempotency-Key in the transaction that charges them.
func keepAnswers(ctx context.Context, tx *sqlx.Tx, at []int, batch []usage.Record, outcomes []ports.RecordOutcome) error {
	for _, i := range at {
		r := &batch[i]
		if outcomes[i] == ports.Fenced {
			continue
		}
		header, err := json.Marshal(r.Idempotent.Header)
		if err != nil {
			return fmt.Errorf("keep the answer to event %s: %w", r.ID, err)
		}
		body := r.Idempotent.Body
		switch {
		case !r.Idempotent.Kept:
			body = nil
		case body == nil:
			body = []byte{} // an empty answer is kept; NULL means that it was too large
		}
		if _, err := tx.ExecContext(ctx, keepAnswer, r.UserID, r.Idempotent.Key, r.ID, r.Idempotent.BodyHash, r.Idempotent.Status, header, body); err != nil {
			return fmt.Errorf("keep the answer to event %s: %w", r.ID, err)
		}
	}
	return nil
}

const voidUsage = `
WITH doubt AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS t (id, lease_id)
), open AS MATERIALIZED (
    SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND state = 'open' ORDER BY id FOR UPDATE
), gone AS (
    DELETE FROM usage_events u USING doubt d
    WHERE u.id = d.id AND u.lease_id IS NOT DISTINCT FROM d.lease_id
      AND (u.lease_id IS NULL OR u.lease_id IN (SELECT id FROM open))
    RETURNING u.lease_id, u.amount
), repaid AS (
    UPDATE leases l SET used = l.used - s.amount
    FROM (SELECT lease_id, sum(amount)::bigint AS amount FROM gone WHERE lease_id IS NOT NULL GROUP BY lease_id) s
    WHERE l.id = s.lease_id
)
SELECT count(*) FROM gone`

// Void implements ports.UsageJournal. It may delete events because nobody has been told of them and no other row can
// name them yet: revenue is indexed from closed leases only.
func (j *Journal) Void(ctx context.Context, batch []usage.Record) ([]id.ID, error) {
	events, leases := newIDArray(len(batch)), newIDArray(len(batch))
	for i := range batch {
		events.addID(batch[i].ID)
		leases.addID(batch[i].LeaseID)
	}
	ids, of := events.text(), leases.text()
	var kept []id.ID
	err := retryTx(ctx, j.db, func(tx *sqlx.Tx) error {
		var gone int
		if err := tx.QueryRowContext(ctx, voidUsage, ids, of).Scan(&gone); err != nil {
			return fmt.Errorf("void %d usage events: %w", len(batch), err)
		}
		kept = kept[:0]
		const left = `SELECT u.id FROM usage_events u JOIN unnest($1::uuid[], $2::uuid[]) AS d (id, lease_id)
			ON u.id = d.id AND u.lease_id IS NOT DISTINCT FROM d.lease_id`
		if err := tx.SelectContext(ctx, &kept, left, ids, of); err != nil {
			return fmt.Errorf("look for charges that stay: %w", err)
		}
		for i := range batch {
			r := &batch[i]
			if r.Idempotent == nil {
				continue
			}
			const forget = `DELETE FROM idempotency i WHERE user_id = $1 AND key = $2 AND event_id = $3
				AND NOT EXISTS (SELECT FROM usage_events u WHERE u.id = i.event_id)`
			if _, err := tx.ExecContext(ctx, forget, r.UserID, r.Idempotent.Key, r.ID); err != nil {
				return fmt.Errorf("forget an Idempotency-Key: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// rejected marks errors that mean the statement can never succeed: a constraint or a value, not the state of the server.
func rejected(err error) error {
	var pe *pq.Error
	if errors.As(err, &pe) && (pe.Code.Class() == "22" || pe.Code.Class() == "23") {
		return fmt.Errorf("%w: %w", ports.ErrRejected, err)
	}
	return err
}
