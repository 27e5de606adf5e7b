package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// Void implements ports.UsageJournal. It locks the leases first, which waits for every append under way on them, and looks
// for the events in later statements, which see what those appends left. An append that has not begun finds a later epoch.
// It may delete events because nobody has been told of them, and no other row names them before they are booked.
func (j *Journal) Void(ctx context.Context, batch []usage.Record) (kept []id.ID, err error) {
	err = retryTx(ctx, j.db, func(tx *sqlx.Tx) error {
		v := void{tx: tx, batch: batch, leases: map[id.ID]*voidedLease{}}
		for _, step := range []func(context.Context) error{v.lock, v.find, v.delete, v.repay, v.forget} {
			if err := step(ctx); err != nil {
				return fmt.Errorf("void %d usage events: %w", len(batch), err)
			}
		}
		kept = v.kept
		return nil
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// void is one run of Void in its transaction.
type void struct {
	tx     *sqlx.Tx
	batch  []usage.Record
	leases map[id.ID]*voidedLease
	gone   []usage.Record
	kept   []id.ID
}

type voidedLease struct {
	ID     id.ID `db:"id"`
	Booked bool  `db:"booked"`

	epoch  int64 // the greatest that the batch has for it
	amount int64 // what it gets back
}

// lock waits for the appends under way on the leases, and keeps out others, the expiry pass and the booking of revenue.
func (v *void) lock(ctx context.Context) error {
	const lock = `SELECT id, indexed_at IS NOT NULL AS booked FROM leases WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE`
	leases, _, _, _ := payersOf(v.batch).arrays()
	var found []*voidedLease
	if err := v.tx.SelectContext(ctx, &found, lock, leases.text()); err != nil {
		return fmt.Errorf("lock their leases: %w", err)
	}
	for _, l := range found {
		v.leases[l.ID] = l
	}
	for i := range v.batch {
		if l := v.leases[v.batch[i].LeaseID]; l != nil {
			l.epoch = max(l.epoch, v.batch[i].Epoch)
		}
	}
	return nil
}

// find tells what is on disk of the batch: what can go, and what stays because it has been booked.
func (v *void) find(ctx context.Context) error {
	var found []struct {
		ID     id.ID `db:"id"`
		Lease  id.ID `db:"lease_id"`
		Amount int64 `db:"amount"`
	}
	if err := v.tx.SelectContext(ctx, &found, `SELECT id, lease_id, amount FROM usage_events WHERE `+amongEvents(v.batch)); err != nil {
		return fmt.Errorf("look for them: %w", err)
	}
	asked := make(map[[2]id.ID]*usage.Record, len(v.batch))
	for i := range v.batch {
		asked[[2]id.ID{v.batch[i].ID, v.batch[i].LeaseID}] = &v.batch[i]
	}
	for _, e := range found {
		r, l := asked[[2]id.ID{e.ID, e.Lease}], v.leases[e.Lease]
		if r == nil {
			continue // another call's: it charged the same event
		}
		if l != nil && e.Amount > 0 && l.Booked {
			v.kept = append(v.kept, e.ID)
			continue
		}
		v.gone = append(v.gone, *r)
		if l != nil {
			l.amount += e.Amount
		}
	}
	return nil
}

func (v *void) delete(ctx context.Context) error {
	if len(v.gone) == 0 {
		return nil
	}
	if _, err := v.tx.ExecContext(ctx, `DELETE FROM usage_events WHERE `+amongEvents(v.gone)); err != nil {
		return fmt.Errorf("delete them: %w", err)
	}
	return nil
}

// A closed lease that has nothing to book any more is as good as booked.
const repayVoided = `
WITH void AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS v (lease_id, epoch, amount)
), repaid AS (
    UPDATE leases l
    SET epoch = greatest(l.epoch, v.epoch + 1), used = l.used - v.amount,
        indexed_at = CASE WHEN l.state = 'closed' AND l.used - v.amount = l.indexed THEN COALESCE(l.indexed_at, clock_timestamp()) END
    FROM void v WHERE l.id = v.lease_id
    RETURNING l.vault_id, CASE WHEN l.state = 'closed' THEN v.amount ELSE 0 END AS amount
), sums AS (
    SELECT vault_id, sum(amount)::bigint AS amount FROM repaid GROUP BY vault_id HAVING sum(amount) > 0
), locked AS MATERIALIZED (
    SELECT id FROM vaults WHERE id IN (SELECT vault_id FROM sums) ORDER BY id FOR UPDATE
)
UPDATE vaults v SET uncollected = v.uncollected - s.amount FROM sums s, locked k WHERE v.id = s.vault_id AND v.id = k.id`

// repay gives the leases their money back and opens their next epoch. The owner of a closed lease's vault owes it no more.
func (v *void) repay(ctx context.Context) error {
	n := len(v.leases)
	ids, epochs, amounts := newIDArray(n), newIntArray(n), newIntArray(n)
	for _, l := range v.leases {
		ids.addID(l.ID)
		epochs.addInt(l.epoch)
		amounts.addInt(l.amount)
	}
	if _, err := v.tx.ExecContext(ctx, repayVoided, ids.text(), epochs.text(), amounts.text()); err != nil {
		return fmt.Errorf("give their money back: %w", err)
	}
	return nil
}

// forget gives up the Idempotency-Keys that the voided events had answered: a retry runs anew. A key that still runs is not
// touched, as another call may have it by now.
func (v *void) forget(ctx context.Context) error {
	users, events, keys := newIDArray(0), newIDArray(0), pq.StringArray(nil)
	for i := range v.gone {
		r := &v.gone[i]
		if r.IdempotencyKey != "" {
			users.addID(r.UserID)
			keys = append(keys, r.IdempotencyKey)
			events.addID(r.ID)
		}
	}
	if keys == nil {
		return nil
	}
	const forget = `DELETE FROM idempotency i USING unnest($1::uuid[], $2::text[], $3::uuid[]) AS k (user_id, key, event_id)
		WHERE i.user_id = k.user_id AND i.key = k.key AND i.event_id = k.event_id AND i.state = 'answered'`
	if _, err := v.tx.ExecContext(ctx, forget, users.text(), keys, events.text()); err != nil {
		return fmt.Errorf("forget their Idempotency-Keys: %w", err)
	}
	return nil
}
