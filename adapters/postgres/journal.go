package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Journal implements ports.UsageJournal.
type Journal struct {
	db                   *sqlx.DB
	usual, others, keyed prepared
}

// NewJournal returns the journal stored in db.
func NewJournal(db *sqlx.DB) *Journal {
	return &Journal{
		db:     db,
		usual:  prepared{query: appendWhole},
		others: prepared{query: fmt.Sprintf(appendRows, "", "", "")},
		keyed:  prepared{query: fmt.Sprintf(appendRows, claimedKeys, onlyClaimed, answerKeys)},
	}
}

// Append implements ports.UsageJournal.
func (j *Journal) Append(ctx context.Context, batch []usage.Record) ([]ports.RecordOutcome, error) {
	keys, again := keysOf(batch)
	if again > 0 {
		return j.appendParts(ctx, batch[:again], batch[again:])
	}
	written, err := j.write(ctx, batch, keys)
	if err != nil {
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

// write returns how many events of the batch it has written.
func (j *Journal) write(ctx context.Context, batch []usage.Record, keys []any) (int, error) {
	args, sums := appendArgs(batch)
	if keys != nil {
		return run(ctx, j.db, &j.keyed, slices.Concat(args, keys))
	}
	written, err := run(ctx, j.db, &j.usual, slices.Concat(args, []any{sums}))
	if pq.As(err, pqerror.UniqueViolation, pqerror.InvalidTextRepresentation) == nil {
		return written, err
	}
	return run(ctx, j.db, &j.others, args) // nothing was written
}

func run(ctx context.Context, db *sqlx.DB, p *prepared, args []any) (written int, err error) {
	stmt, err := p.on(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("prepare the statement: %w", err)
	}
	err = stmt.QueryRowContext(ctx, args...).Scan(&written)
	return written, err
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
	return []any{users, keys, events, claims}, 0
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
