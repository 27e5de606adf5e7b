package postgres

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// heldElsewhere looks whether others' leases could make up for what a vault is short of. What they have not used may be idle, or
// held by calls in flight: that only they know.
const heldElsewhere = `
SELECT EXISTS (
    SELECT FROM vaults v JOIN leases l ON l.vault_id = v.id AND l.state = 'open' AND l.node_id <> $2
    WHERE v.id = $1 AND v.stopped_at IS NULL
    HAVING sum(l.granted - l.used) > 0 AND sum(l.granted - l.used) + $3::bigint >= $4::bigint)`

// tellNodes is one message to all, unless there is a young one.
const tellNodes = `
WITH told AS (
    INSERT INTO changes (kind, subject, changed_at)
    SELECT 'recall', $1, clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM changes WHERE kind = 'recall' AND subject = $1 AND changed_at > clock_timestamp() - make_interval(secs => $2))
    RETURNING pg_notify('` + channel + `', '')
)
SELECT count(*) > 0 FROM told`

// short is the refusal of a grant on a vault that the transaction has locked, so that no two tell the nodes at once.
func short(ctx context.Context, tx *sqlx.Tx, locked id.ID, free int64, g ports.LeaseGrant) (refusal, err error) {
	var held, told bool
	if err := tx.GetContext(ctx, &held, heldElsewhere, locked, g.Node, free, g.AtLeast.Stroops()); err != nil {
		return nil, fmt.Errorf("look for idle money of vault %s: %w", locked, err)
	}
	if !held {
		return vault.ErrShort, nil
	}
	if err := tx.GetContext(ctx, &told, tellNodes, g.Consumer.String(), vault.RecallEvery.Seconds()); err != nil {
		return nil, fmt.Errorf("recall idle money of vault %s: %w", locked, err)
	}
	if told {
		return vault.ErrHeld.Because(ports.ErrRecalled), nil
	}
	return vault.ErrHeld, nil
}
