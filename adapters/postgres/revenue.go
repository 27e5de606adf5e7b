package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Revenue implements ports.RevenueIndex.
type Revenue struct{ db *sqlx.DB }

// NewRevenue returns the revenue index stored in db.
func NewRevenue(db *sqlx.DB) *Revenue { return &Revenue{db} }

// A lease of a node that did not write the bounds of its event ids has none. Its events are as old as their calls, which began
// before the lease (a call under an Idempotency-Key that was taken over: up to the key's retention before), and end with it.
const toIndex = `
SELECT id, used, indexed, indexed_to,
       greatest(indexed_to, COALESCE(first_event, uuid7_floor(opened_at - INTERVAL '31 days'))) AS first,
       COALESCE(last_event, uuid7_floor(closed_at + INTERVAL '1 day')) AS last
FROM leases WHERE state = 'closed' AND indexed_at IS NULL
ORDER BY closed_at LIMIT $1 FOR UPDATE SKIP LOCKED`

type leaseToIndex struct {
	ID        id.ID `db:"id"`
	Used      int64 `db:"used"`
	Indexed   int64 `db:"indexed"`
	IndexedTo id.ID `db:"indexed_to"`
	First     id.ID `db:"first"`
	Last      id.ID `db:"last"`
}

// A closed lease takes no more events, so that its events can be gone through by their ids, a page at a time; it is done when
// the money of its pages is what it used. The primary key makes a second row for an event impossible. The bounds of the
// ids and the size of the page are text and not parameters, so that only the partitions between them are locked and read.
const indexRevenue = `
WITH ready AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[]) AS r (id, used, indexed, indexed_to)
), page AS MATERIALIZED (
    SELECT u.* FROM ready r CROSS JOIN LATERAL (
        SELECT id, lease_id, api_id, amount, occurred_at FROM usage_events
        WHERE lease_id = r.id AND id > COALESCE(r.indexed_to, '00000000-0000-0000-0000-000000000000')
          AND id BETWEEN '%[1]s' AND '%[2]s' AND amount > 0
        ORDER BY id LIMIT %[3]d
    ) u LIMIT %[3]d
), earned AS (
    INSERT INTO revenue_ledger (usage_event_id, developer_id, api_id, lease_id, amount, earned_at)
    SELECT p.id, a.developer_id, p.api_id, p.lease_id, p.amount, p.occurred_at FROM page p JOIN apis a ON a.id = p.api_id
    ON CONFLICT DO NOTHING
), marked AS (
    UPDATE leases l
    SET indexed = r.indexed + s.amount, indexed_to = s.last,
        indexed_at = CASE WHEN r.indexed + s.amount = r.used THEN clock_timestamp() END
    FROM ready r, (
        SELECT lease_id, sum(amount)::bigint AS amount, max(id::text COLLATE "C")::uuid AS last FROM page GROUP BY lease_id
    ) s
    WHERE l.id = r.id AND r.id = s.lease_id
)
SELECT count(*) FROM page`

// forPages makes plans that read a lease's events by their index: left to itself the planner may expect few of them, and
// then reads and sorts all that a lease has for each page; and a plan for these bounds, not for any. No page waits for the
// disk, where calls wait to be charged: one that a crash undoes, lease and rows together, is written again.
const forPages = `
SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_sort = off; SET LOCAL jit = off;
SET LOCAL synchronous_commit = off`

// IndexRevenue implements ports.RevenueIndex. SKIP LOCKED lets several nodes index side by side.
func (r *Revenue) IndexRevenue(ctx context.Context, limit int) (int, error) {
	var n int
	err := inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, forPages); err != nil {
			return fmt.Errorf("plan the index of revenue: %w", err)
		}
		var ready []leaseToIndex
		if err := tx.SelectContext(ctx, &ready, toIndex, limit); err != nil {
			return fmt.Errorf("look for leases to index: %w", err)
		}
		for _, group := range byTime(ready) {
			page, err := indexPage(ctx, tx, group, limit-n)
			if err != nil {
				return fmt.Errorf("index the revenue of %d leases: %w", len(group), err)
			}
			if n += page; n == limit {
				break
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// byTime groups leases whose events lie within a day, or within one lease's time where that is longer.
func byTime(leases []leaseToIndex) (groups [][]leaseToIndex) {
	slices.SortFunc(leases, func(a, b leaseToIndex) int {
		switch {
		case a.First.Before(b.First):
			return -1
		case b.First.Before(a.First):
			return 1
		}
		return 0
	})
	for start, i := 0, 1; i <= len(leases); i++ {
		if i == len(leases) || leases[i].Last.Time().Sub(leases[start].First.Time()) > 24*time.Hour {
			groups = append(groups, leases[start:i])
			start = i
		}
	}
	return groups
}

func indexPage(ctx context.Context, tx *sqlx.Tx, leases []leaseToIndex, limit int) (n int, err error) {
	first, last := leases[0].First, leases[0].Last
	ids, used, indexed, to := newIDArray(len(leases)), newIntArray(len(leases)), newIntArray(len(leases)), newIDArray(len(leases))
	for _, l := range leases {
		ids.addID(l.ID)
		used.addInt(l.Used)
		indexed.addInt(l.Indexed)
		to.addID(l.IndexedTo)
		if last.Before(l.Last) {
			last = l.Last
		}
	}
	query := fmt.Sprintf(indexRevenue, first, last, limit)
	return n, tx.GetContext(ctx, &n, query, ids.text(), used.text(), indexed.text(), to.text())
}
