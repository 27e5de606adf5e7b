package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Balances reads vaults. It is ports.Balances.
type Balances struct{ db *sqlx.DB }

// NewBalances returns the vaults in db.
func NewBalances(db *sqlx.DB) *Balances { return &Balances{db} }

// BalanceOf returns a user's vault on a network. One statement: the vault and its leases are seen at one moment.
func (s *Balances) BalanceOf(ctx context.Context, user id.ID, network vault.Network) (vault.Balance, error) {
	var r balanceRow
	err := s.db.GetContext(ctx, &r, `
		SELECT v.id, v.user_id, v.network, v.contract_id, v.balance_snapshot, v.snapshot_ledger, v.uncollected, v.held,
			COALESCE((SELECT sum(l.used) FROM leases l WHERE l.vault_id = v.id AND l.state = 'open'), 0)::bigint AS held_used,
			v.last_synced_at
		FROM vaults v WHERE v.user_id = $1 AND v.network = $2`, user, string(network))
	if errors.Is(err, sql.ErrNoRows) {
		return vault.Balance{}, vault.NotFound(network)
	}
	return r.toDomain(), failed("read a balance", err, nil)
}

type balanceRow struct {
	ID             id.ID        `db:"id"`
	UserID         id.ID        `db:"user_id"`
	Network        string       `db:"network"`
	ContractID     string       `db:"contract_id"`
	Snapshot       int64        `db:"balance_snapshot"`
	SnapshotLedger int64        `db:"snapshot_ledger"`
	Uncollected    int64        `db:"uncollected"`
	Held           int64        `db:"held"`
	HeldUsed       int64        `db:"held_used"`
	LastSyncedAt   sql.NullTime `db:"last_synced_at"`
}

func (r balanceRow) toDomain() vault.Balance {
	return vault.Balance{
		VaultID: r.ID, UserID: r.UserID, Network: vault.Network(r.Network), ContractID: r.ContractID,
		Snapshot: money.FromStroops(r.Snapshot), Ledger: r.SnapshotLedger, Uncollected: money.FromStroops(r.Uncollected),
		Held: money.FromStroops(r.Held), HeldUsed: money.FromStroops(r.HeldUsed), LastSyncedAt: timeOf(r.LastSyncedAt),
	}
}

// UsageReader reads a consumer's usage. It is ports.UsageReader. Times select by the id alone, which carries the event's
// millisecond: so that Postgres reads only the partitions of those days, and those by one index.
type UsageReader struct{ db *sqlx.DB }

// NewUsageReader returns the usage in db.
func NewUsageReader(db *sqlx.DB) *UsageReader { return &UsageReader{db} }

const usageWhere = `
	WHERE u.user_id = $1 AND u.id >= $2::uuid AND u.id < $3::uuid AND ($4::uuid IS NULL OR u.api_id = $4::uuid) `

func usageArgs(q ports.UsageQuery) []any {
	return []any{q.User, firstNotBefore(q.From).String(), firstNotBefore(q.To).String(), q.API}
}

// firstNotBefore is the lowest id of an event at t or later; an event's time has whole milliseconds.
func firstNotBefore(t time.Time) id.ID {
	if whole := t.Truncate(time.Millisecond); whole.Before(t) {
		t = whole.Add(time.Millisecond)
	}
	return id.FirstAt(t)
}

// UsageEvents returns events, newest first, and how many match in all, older and newer than the page.
func (s *UsageReader) UsageEvents(ctx context.Context, q ports.UsageQuery) (lines []ports.UsageLine, total int, err error) {
	spans, err := s.spans(ctx, q)
	if err != nil {
		return nil, 0, failed("list usage", err, nil)
	}
	skip := q.Offset
	for _, part := range spans {
		part.Offset, part.Limit = skip, q.Limit-len(lines)
		found, all, before, err := s.eventsOf(ctx, part)
		if err != nil {
			return nil, 0, failed("list usage", err, nil)
		}
		lines, total, skip = append(lines, found...), total+all, max(skip-before, 0)
	}
	return lines, total, nil
}

// eventsOf returns a page of a span, how many events match in it, and how many of those before q.Before. One snapshot: the
// page and the numbers are of one moment.
func (s *UsageReader) eventsOf(ctx context.Context, q ports.UsageQuery) (lines []ports.UsageLine, all, before int, err error) {
	args := append(usageArgs(q), q.Before)
	err = inSnapshot(ctx, s.db, func(tx *sqlx.Tx) error {
		count := tx.QueryRowxContext(ctx, `SELECT count(*), count(*) FILTER (WHERE $5::uuid IS NULL OR u.id < $5::uuid)
			FROM usage_events u`+usageWhere, args...)
		if err := count.Scan(&all, &before); err != nil || q.Limit == 0 || q.Offset >= before {
			return err
		}
		var rows []usageRow
		err := tx.SelectContext(ctx, &rows, `
			SELECT u.id, u.api_id, COALESCE(a.slug, '') AS api_slug, u.endpoint_id, COALESCE(e.method, '') AS method,
				COALESCE(e.path, '') AS path, u.status_code, u.latency_us, u.amount, u.occurred_at
			FROM usage_events u
			LEFT JOIN apis a ON a.id = u.api_id
			LEFT JOIN api_endpoints e ON e.id = u.endpoint_id`+usageWhere+`
				AND ($5::uuid IS NULL OR u.id < $5::uuid)
			ORDER BY u.id DESC LIMIT $6 OFFSET $7`, append(args, q.Limit, q.Offset)...)
		lines = toDomain(rows, usageRow.toDomain)
		return err
	})
	return lines, all, before, err
}

type usageRow struct {
	ID         id.ID     `db:"id"`
	APIID      id.ID     `db:"api_id"`
	APISlug    string    `db:"api_slug"`
	EndpointID id.ID     `db:"endpoint_id"`
	Method     string    `db:"method"`
	Path       string    `db:"path"`
	StatusCode int       `db:"status_code"`
	LatencyUS  int64     `db:"latency_us"`
	Amount     int64     `db:"amount"`
	OccurredAt time.Time `db:"occurred_at"`
}

func (r usageRow) toDomain() ports.UsageLine {
	return ports.UsageLine{
		ID: r.ID, APIID: r.APIID, APISlug: r.APISlug, EndpointID: r.EndpointID, Method: r.Method, Path: r.Path,
		Status: r.StatusCode, Latency: time.Duration(r.LatencyUS) * time.Microsecond, Amount: money.FromStroops(r.Amount),
		OccurredAt: r.OccurredAt.UTC(),
	}
}
