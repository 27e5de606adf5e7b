package postgres

import (
	"context"
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
	append, keyed prepared // keyed is for batches with Idempotency-Keys
}

// NewJournal returns the journal stored in db.
func NewJournal(db *sqlx.DB) *Journal {
	return &Journal{
		db: db, append: prepared{query: fmt.Sprintf(appendUsage, "", "", "")},
		keyed: prepared{query: fmt.Sprintf(appendUsage, claimedKeys, onlyClaimed, answerKeys)},
	}
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
)%s, written AS (
    INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
    SELECT id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code::smallint, latency_us,
           to_timestamp(occurred_ms / 1000.0::float8)
    FROM new WHERE (lease_id IS NULL OR (lease_id, epoch) IN (SELECT id, epoch FROM open))%s
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

// The parts of the statement for calls with an Idempotency-Key, whose answers have been stored before. The key is a second
// fence: a call whose claim another has taken over is not recorded. Keys are locked in their order, and after the leases, as
// a void does it.
const (
	claimedKeys = `, claimed AS MATERIALIZED (
    SELECT i.user_id, i.key, i.event_id
    FROM unnest($15::uuid[], $16::text[], $17::uuid[], $18::uuid[]) AS k (user_id, key, event_id, claim)
    JOIN idempotency i ON i.user_id = k.user_id AND i.key = k.key AND i.event_id = k.event_id AND i.claim = k.claim
    WHERE i.state = 'running' AND (SELECT count(*) FROM open) >= 0
    ORDER BY i.user_id, i.key FOR UPDATE OF i
)`
	onlyClaimed = `
      AND (id NOT IN (SELECT unnest($17::uuid[])) OR id IN (SELECT event_id FROM claimed))`
	answerKeys = `, answered AS (
    UPDATE idempotency i SET state = 'answered', answered_at = clock_timestamp()
    FROM claimed c JOIN written w ON w.id = c.event_id
    WHERE i.user_id = c.user_id AND i.key = c.key
)`
)

// Append implements ports.UsageJournal.
func (j *Journal) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	keys, again := keysOf(batch)
	if again > 0 {
		return j.appendParts(ctx, batch[:again], batch[again:])
	}
	args, statement := appendArgs(batch), &j.append
	if keys != nil {
		args, statement = append(args, keys...), &j.keyed
	}
	stmt, err := statement.on(ctx, j.db)
	if err != nil {
		return nil, fmt.Errorf("prepare to append usage events: %w", err)
	}
	var written int
	if err := stmt.QueryRowContext(ctx, args...).Scan(&written); err != nil {
		return nil, rejected(fmt.Errorf("append %d usage events: %w", len(batch), err))
	}
	outcomes := make([]ports.RecordOutcome, len(batch))
	if written == len(batch) {
		return outcomes, nil // all are recorded
	}
	if err := classify(ctx, j.db, batch, outcomes); err != nil {
		return nil, rejected(err)
	}
	return outcomes, nil
}

// appendParts stores a batch in two statements.
func (j *Journal) appendParts(ctx context.Context, one, two []usage.Record) ([]ports.RecordOutcome, error) {
	first, err := j.Append(ctx, one)
	if err != nil {
		return nil, err
	}
	second, err := j.Append(ctx, two)
	if err != nil {
		return nil, err
	}
	return append(first, second...), nil
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

// keysOf are the arguments for the calls with an Idempotency-Key, nil when there are none. Two calls of one key have one event,
// and only one has the claim: again is where the second is, which needs a statement of its own; 0: there is none.
func keysOf(batch []usage.Record) (args []any, again int) {
	users, events, claims, keys := newIDArray(0), newIDArray(0), newIDArray(0), pq.StringArray(nil)
	var seen map[id.ID]bool
	for i := range batch {
		r := &batch[i]
		if r.IdempotencyKey == "" {
			continue
		}
		if seen[r.ID] {
			return nil, i
		}
		if seen == nil {
			seen = map[id.ID]bool{}
		}
		seen[r.ID] = true
		users.addID(r.UserID)
		keys = append(keys, r.IdempotencyKey)
		events.addID(r.ID)
		claims.addID(r.IdempotencyClaim)
	}
	if keys == nil {
		return nil, 0
	}
	return []any{users.text(), keys, events.text(), claims.text()}, 0
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
	running, err := runningClaims(ctx, q, batch)
	if err != nil {
		return err
	}
	for i := range batch {
		lease, stored := payer[batch[i].ID]
		switch {
		case !stored && batch[i].IdempotencyKey != "" && !running[batch[i].ID]:
			outcomes[i] = ports.ClaimLost
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

// runningClaims tells whose claims on an Idempotency-Key run, by the ids of their events.
func runningClaims(ctx context.Context, q sqlx.ExtContext, batch []usage.Record) (map[id.ID]bool, error) {
	keys, _ := keysOf(batch)
	if keys == nil {
		return nil, nil
	}
	const look = `SELECT i.event_id FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[]) AS k (user_id, key, event_id, claim)
		JOIN idempotency i ON i.user_id = k.user_id AND i.key = k.key AND i.event_id = k.event_id AND i.claim = k.claim
		WHERE i.state = 'running'`
	var found []id.ID
	if err := sqlx.SelectContext(ctx, q, &found, look, keys...); err != nil {
		return nil, fmt.Errorf("look for the claims of Idempotency-Keys: %w", err)
	}
	running := make(map[id.ID]bool, len(found))
	for _, event := range found {
		running[event] = true
	}
	return running, nil
}

// rejected marks errors that mean the statement can never succeed: a constraint or a value, not the state of the server.
func rejected(err error) error {
	var pe *pq.Error
	if errors.As(err, &pe) && (pe.Code.Class() == "22" || pe.Code.Class() == "23") {
		return fmt.Errorf("%w: %w", ports.ErrRejected, err)
	}
	return err
}
