package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Leases implements ports.Leases, ports.LeaseSuccession and ports.LeaseExpiry. Every statement here locks leases before vaults, and each of them
// in the order of ids, so that no two can wait for each other.
type Leases struct{ db *sqlx.DB }

// NewLeases returns the leases stored in db.
func NewLeases(db *sqlx.DB) *Leases { return &Leases{db} }

const freeOfVault = `
SELECT id, balance_snapshot - uncollected - held, held
FROM vaults
WHERE user_id = $1 AND network = $2
FOR UPDATE`

const openLease = `
WITH held AS (
    UPDATE vaults SET held = held + $4 WHERE id = $2
)
INSERT INTO leases (id, vault_id, node_id, granted, expires_at)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
RETURNING expires_at`

// Grant implements ports.Leases. An earlier attempt that is about to commit has the vault locked.
func (s *Leases) Grant(ctx context.Context, g ports.LeaseGrant) (vault.Lease, error) {
	var lease vault.Lease
	var refused error
	var granted bool // by an earlier attempt
	err := retryTx(ctx, s.db, func(tx *sqlx.Tx) error {
		lease, refused, granted = vault.Lease{ID: g.ID}, nil, false
		if len(g.GiveBack) > 0 {
			if err := giveBack(ctx, tx, g.Node, g.GiveBack); err != nil {
				return err
			}
		}
		var free, held int64
		err := tx.QueryRowContext(ctx, freeOfVault, g.Consumer, g.Network).Scan(&lease.VaultID, &free, &held)
		if errors.Is(err, sql.ErrNoRows) {
			refused = vault.ErrShort
			return nil
		}
		if err != nil {
			return fmt.Errorf("lock the vault of %s: %w", g.Consumer, err)
		}
		if g.Again {
			err := tx.GetContext(ctx, &granted, `SELECT EXISTS (SELECT FROM leases WHERE id = $1)`, g.ID)
			if granted || err != nil {
				return err
			}
		}
		lease.Granted, refused = vault.SizeGrant(money.FromStroops(free), g.AtLeast, g.Need, g.Want)
		if refused != nil && held > 0 { // by leases: whose
			refused, err = short(ctx, tx, lease.VaultID, free, g)
		}
		if refused != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, openLease, g.ID, lease.VaultID, g.Node, lease.Granted.Stroops(), g.TTL.Seconds()).
			Scan(&lease.ExpiresAt)
		if err != nil {
			return fmt.Errorf("open a lease on vault %s: %w", lease.VaultID, err)
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return vault.Lease{}, err
	}
	if granted { // renewed on its own: who has a vault's lock takes no lease's
		found, err := renew(ctx, s.db, g.Node, []id.ID{g.ID}, g.TTL)
		if err != nil {
			return vault.Lease{}, err
		}
		if len(found) == 0 {
			return vault.Lease{}, ports.ErrLeaseEnded
		}
		return found[0], nil
	}
	return lease, nil
}

// A lease that was never used needs no close of its own: it ends here. One that was used stays open, even when nothing else is left of
// it: whether its node knows of all that it paid is for the node to say, by a close, and until then a void has to find it unbooked.
const giveBackParts = `
WITH part AS (
    SELECT * FROM unnest($2::uuid[], $3::bigint[]) AS p (lease_id, keep)
), mine AS MATERIALIZED (
    SELECT id, granted FROM leases WHERE id = ANY ($2) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE
), returned AS (
    UPDATE leases l
    SET granted    = CASE WHEN p.keep = 0 THEN l.granted ELSE p.keep END,
        state      = CASE WHEN p.keep = 0 THEN 'closed' ELSE 'open' END,
        closed_at  = CASE WHEN p.keep = 0 THEN clock_timestamp() END,
        indexed_at = CASE WHEN p.keep = 0 THEN clock_timestamp() END
    FROM part p, mine m
    WHERE l.id = p.lease_id AND l.id = m.id AND p.keep >= l.used AND p.keep < l.granted
    RETURNING l.vault_id, m.granted - p.keep AS rest
), sums AS (
    SELECT vault_id, sum(rest)::bigint AS rest FROM returned GROUP BY vault_id
), locked AS MATERIALIZED (
    SELECT id FROM vaults WHERE id IN (SELECT vault_id FROM sums) ORDER BY id FOR UPDATE
)
UPDATE vaults v SET held = v.held - s.rest FROM sums s, locked k WHERE v.id = s.vault_id AND v.id = k.id`

func giveBack(ctx context.Context, tx sqlx.ExtContext, node id.ID, parts []ports.LeasePart) error {
	leases, keep := newIDArray(len(parts)), newIntArray(len(parts))
	for _, p := range parts {
		leases.addID(p.Lease)
		keep.addInt(p.Keep.Stroops())
	}
	if _, err := tx.ExecContext(ctx, giveBackParts, node, leases.text(), keep.text()); err != nil {
		return fmt.Errorf("give parts of %d leases back: %w", len(parts), err)
	}
	return nil
}

// Return implements ports.Leases.
func (s *Leases) Return(ctx context.Context, node id.ID, parts []ports.LeasePart) error {
	return retryTx(ctx, s.db, func(tx *sqlx.Tx) error { return giveBack(ctx, tx, node, parts) })
}

const renewLeases = `
WITH mine AS MATERIALIZED (
    SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE
)
UPDATE leases l SET expires_at = clock_timestamp() + make_interval(secs => $3)
FROM mine m WHERE l.id = m.id
RETURNING l.id, l.vault_id, l.granted, l.used, l.expires_at`

// renew extends those of the leases that are open, and returns them.
func renew(ctx context.Context, q sqlx.QueryerContext, node id.ID, leases []id.ID, ttl time.Duration) ([]vault.Lease, error) {
	rows, err := q.QueryxContext(ctx, renewLeases, node, idArrayOf(leases).text(), ttl.Seconds())
	if err != nil {
		return nil, fmt.Errorf("renew %d leases: %w", len(leases), err)
	}
	defer rows.Close()
	var open []vault.Lease
	for rows.Next() {
		var l vault.Lease
		var granted, used int64
		if err := rows.Scan(&l.ID, &l.VaultID, &granted, &used, &l.ExpiresAt); err != nil {
			return nil, fmt.Errorf("renew leases: %w", err)
		}
		l.Granted, l.Used = money.FromStroops(granted), money.FromStroops(used)
		open = append(open, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("renew %d leases: %w", len(leases), err)
	}
	return open, nil
}

// Renew implements ports.Leases.
func (s *Leases) Renew(ctx context.Context, node id.ID, leases []id.ID, ttl time.Duration) ([]id.ID, error) {
	open, err := renew(ctx, s.db, node, leases, ttl)
	if err != nil {
		return nil, err
	}
	ids := make([]id.ID, len(open))
	for i, l := range open {
		ids[i] = l.ID
	}
	return ids, nil
}

// replaceLeases moves what the calls in flight on leases need to their successors. A successor gets no more than its
// predecessor leaves, so the vault's free money only grows.
const replaceLeases = `
WITH asked AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::bigint[]) AS a (lease_id, successor, need)
), old AS MATERIALIZED (
    SELECT id, vault_id, granted, used FROM leases
    WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE
), next AS MATERIALIZED (
    SELECT o.*, a.successor, least(a.need, o.granted - o.used) AS rest FROM old o JOIN asked a ON a.lease_id = o.id
), ended AS (
    UPDATE leases l SET state = 'closed', closed_at = clock_timestamp(), indexed_at = CASE WHEN n.used = 0 THEN clock_timestamp() END
    FROM next n WHERE l.id = n.id
), opened AS (
    INSERT INTO leases (id, vault_id, node_id, granted, expires_at)
    SELECT successor, vault_id, $1, rest, clock_timestamp() + make_interval(secs => $5) FROM next WHERE rest > 0
), sums AS (
    SELECT vault_id, sum(granted - rest)::bigint AS held, sum(used)::bigint AS used FROM next GROUP BY vault_id
), locked AS MATERIALIZED (
    SELECT id FROM vaults WHERE id IN (SELECT vault_id FROM sums) ORDER BY id FOR UPDATE
)
UPDATE vaults v SET held = v.held - s.held, uncollected = v.uncollected + s.used
FROM sums s, locked k WHERE v.id = s.vault_id AND v.id = k.id`

// Replace implements ports.LeaseSuccession. An earlier attempt that is about to commit has the leases locked; the second
// statement sees what it opened.
func (s *Leases) Replace(ctx context.Context, node id.ID, leases []ports.LeaseReplacement, ttl time.Duration) ([]vault.Lease, error) {
	n := len(leases)
	old, need, successors := newIDArray(n), newIntArray(n), make([]id.ID, n)
	for i, r := range leases {
		old.addID(r.Lease)
		need.addInt(r.Need.Stroops())
		successors[i] = r.Successor
	}
	args := []any{node, old.text(), idArrayOf(successors).text(), need.text(), ttl.Seconds()}
	var open []vault.Lease
	err := retryTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, replaceLeases, args...); err != nil {
			return fmt.Errorf("replace %d leases: %w", n, err)
		}
		var err error
		open, err = renew(ctx, tx, node, successors, ttl)
		return err
	})
	if err != nil {
		return nil, err
	}
	return open, nil
}

// endLeases closes the leases that the query in place of %s selects and locks.
const endLeases = `
WITH ending AS MATERIALIZED (%s),
ended AS (
    UPDATE leases l
    SET state = 'closed', closed_at = clock_timestamp(), indexed_at = CASE WHEN l.used = 0 THEN clock_timestamp() END
    FROM ending e WHERE l.id = e.id
    RETURNING l.vault_id, l.granted, l.used
), sums AS (
    SELECT vault_id, sum(granted)::bigint AS granted, sum(used)::bigint AS used, count(*) AS leases
    FROM ended GROUP BY vault_id
), locked AS MATERIALIZED (
    SELECT id FROM vaults WHERE id IN (SELECT vault_id FROM sums) ORDER BY id FOR UPDATE
), freed AS (
    UPDATE vaults v SET held = v.held - s.granted, uncollected = v.uncollected + s.used
    FROM sums s, locked k WHERE v.id = s.vault_id AND v.id = k.id
)
SELECT COALESCE(sum(leases), 0) FROM sums`

var (
	closeLeases = fmt.Sprintf(endLeases,
		`SELECT id FROM leases WHERE id = ANY ($2::uuid[]) AND node_id = $1 AND state = 'open' ORDER BY id FOR UPDATE`)
	// A node renews its leases through the same rows: SKIP LOCKED leaves those it is just touching for the next pass.
	expireLeases = fmt.Sprintf(endLeases,
		`SELECT id FROM leases WHERE state = 'open' AND expires_at <= clock_timestamp() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`)
)

// Close implements ports.Leases.
func (s *Leases) Close(ctx context.Context, node id.ID, leases []id.ID) error {
	return retryTx(ctx, s.db, func(tx *sqlx.Tx) error {
		var n int64
		if err := tx.QueryRowContext(ctx, closeLeases, node, idArrayOf(leases).text()).Scan(&n); err != nil {
			return fmt.Errorf("close %d leases: %w", len(leases), err)
		}
		return nil
	})
}

// ExpireLeases implements ports.LeaseExpiry.
func (s *Leases) ExpireLeases(ctx context.Context, limit int) (int, error) {
	var n int
	err := retryTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if err := tx.QueryRowContext(ctx, expireLeases, limit).Scan(&n); err != nil {
			return fmt.Errorf("expire leases: %w", err)
		}
		return nil
	})
	return n, err
}
