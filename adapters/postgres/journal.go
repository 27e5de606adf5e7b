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
	db            *sqlx.DB
	append, keyed prepared // keyed also answers Idempotency-Keys
}

// NewJournal returns the journal stored in db.
func NewJournal(db *sqlx.DB) *Journal {
	return &Journal{db: db, append: prepared{query: fmt.Sprintf(appendUsage, "")}, keyed: prepared{query: fmt.Sprintf(appendUsage, answerKeys)}}
}

// The usage events and what they take from their leases are one statement. Locking the open leases first is the fence: a
// lease that the expiry pass closes a moment earlier is not in `open`, and one on which a void went before has another
// epoch, so neither events nor money are written. Only rows that are really new (RETURNING) move money, which makes a
// batch safe to send again. The bounds of a lease's event ids may include ids that were not new; they only must not miss any.
const appendUsage = `
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[],
                         $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
        AS t (id, lease_id, epoch, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_ms)
), open AS MATERIALIZED (
    SELECT id, epoch FROM leases WHERE id = ANY ($12::uuid[]) AND state = 'open' ORDER BY id FOR UPDATE
), written AS (
    INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
    SELECT id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code::smallint, latency_us,
           to_timestamp(occurred_ms / 1000.0::float8)
    FROM new WHERE lease_id IS NULL OR (lease_id, epoch) IN (SELECT id, epoch FROM open)
    ON CONFLICT DO NOTHING
    RETURNING id, lease_id, amount
), paid AS (
    UPDATE leases l
    SET used = l.used + s.amount, first_event = least(l.first_event, b.first), last_event = greatest(l.last_event, b.last)
    FROM (SELECT lease_id, sum(amount)::bigint AS amount FROM written WHERE lease_id IS NOT NULL GROUP BY lease_id) s
    JOIN unnest($12::uuid[], $13::uuid[], $14::uuid[]) AS b (lease_id, first, last) ON b.lease_id = s.lease_id
    WHERE l.id = s.lease_id
)%s
SELECT count(*) FROM written`

// answerKeys is the part of the statement for calls with an Idempotency-Key; their answers have been stored before.
const answerKeys = `, answered AS (
    UPDATE idempotency i SET state = 'answered', answered_at = clock_timestamp()
    FROM unnest($15::uuid[], $16::text[], $17::uuid[]) AS k (user_id, key, event_id), written w
    WHERE w.id = k.event_id AND i.user_id = k.user_id AND i.key = k.key AND i.event_id = k.event_id AND i.state = 'running'
)`

// Append implements ports.UsageJournal.
func (j *Journal) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	args, statement := appendArgs(batch), &j.append
	if keys := keysOf(batch); keys != nil {
		args, statement = append(args, keys...), &j.keyed
	}
	stmt, err := statement.on(ctx, j.db)
	if err != nil {
		return nil, fmt.Errorf("prepare to append usage events: %w", err)
	}
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
	epochs, amounts, statuses, latencies, times := newIntArray(n), newIntArray(n), newIntArray(n), newIntArray(n), newIntArray(2*n)
	for i := range batch {
		r := &batch[i]
		ids.addID(r.ID)
		leases.addID(r.LeaseID)
		epochs.addInt(r.Epoch)
		users.addID(r.UserID)
		apis.addID(r.APIID)
		endpoints.addID(r.EndpointID)
		keys.addID(r.KeyID)
		amounts.addInt(r.Amount.Stroops())
		statuses.addInt(int64(r.Status))
		latencies.addInt(max(r.Latency.Microseconds(), 0))
		times.addInt(r.OccurredAt.UnixMilli())
	}
	distinct, first, last := boundsByLease(batch)
	return []any{
		ids.text(), leases.text(), epochs.text(), users.text(), apis.text(), endpoints.text(), keys.text(),
		amounts.text(), statuses.text(), latencies.text(), times.text(), distinct.text(), first.text(), last.text(),
	}
}

// boundsByLease are the leases of a batch, each with the least and the greatest event id that the batch has for it.
func boundsByLease(batch []usage.Record) (leases, first, last *array) {
	type bounds struct{ lease, first, last id.ID }
	all, at := make([]bounds, 0, 4), make(map[id.ID]int, 4)
	for i := range batch {
		r := &batch[i]
		if r.LeaseID.IsZero() {
			continue
		}
		n, seen := at[r.LeaseID]
		if !seen {
			n = len(all)
			at[r.LeaseID] = n
			all = append(all, bounds{r.LeaseID, r.ID, r.ID})
			continue
		}
		if b := &all[n]; r.ID.Before(b.first) {
			b.first = r.ID
		} else if b.last.Before(r.ID) {
			b.last = r.ID
		}
	}
	leases, first, last = newIDArray(len(all)), newIDArray(len(all)), newIDArray(len(all))
	for _, b := range all {
		leases.addID(b.lease)
		first.addID(b.first)
		last.addID(b.last)
	}
	return leases, first, last
}

// keysOf are the arguments for the calls with an Idempotency-Key, nil when there are none.
func keysOf(batch []usage.Record) []any {
	users, events, keys := newIDArray(0), newIDArray(0), pq.StringArray(nil)
	for i := range batch {
		if r := &batch[i]; r.IdempotencyKey != "" {
			users.addID(r.UserID)
			keys = append(keys, r.IdempotencyKey)
			events.addID(r.ID)
		}
	}
	if keys == nil {
		return nil
	}
	return []any{users.text(), keys, events.text()}
}

// nobody is the payer of a repeated record: no lease has this id.
var nobody = id.ID{0xff}

// amongEvents is the condition that a usage event is one of the batch's. It is text and not parameters, so that the plan is
// made for these ids: a plan for any would lock every partition there is, and look into each.
func amongEvents(batch []usage.Record) string {
	ids, first, last := newIDArray(len(batch)), batch[0].ID, batch[0].ID
	for i := range batch {
		u := batch[i].ID
		ids.addID(u)
		if u.Before(first) {
			first = u
		}
		if last.Before(u) {
			last = u
		}
	}
	return fmt.Sprintf("id BETWEEN '%s' AND '%s' AND id = ANY ('%s'::uuid[])", first, last, ids.text())
}

// classify tells, when not every record was new, which are on disk and who paid for them.
func classify(ctx context.Context, q sqlx.ExtContext, batch []usage.Record, outcomes []ports.RecordOutcome) error {
	rows, err := q.QueryxContext(ctx, `SELECT id, lease_id FROM usage_events WHERE `+amongEvents(batch))
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

// rejected marks errors that mean the statement can never succeed: a constraint or a value, not the state of the server.
func rejected(err error) error {
	var pe *pq.Error
	if errors.As(err, &pe) && (pe.Code.Class() == "22" || pe.Code.Class() == "23") {
		return fmt.Errorf("%w: %w", ports.ErrRejected, err)
	}
	return err
}
