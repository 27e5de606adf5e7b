package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// Keys keeps API keys. It is ports.Keys and ports.KeyLookup. Every change of a key but that of its last use, and every stop of
// an owner's vault, is announced on the change feed by a trigger.
type Keys struct {
	db      *sqlx.DB
	network vault.Network
}

// NewKeys returns the keys in db, whose calls are paid by vaults on a network.
func NewKeys(db *sqlx.DB, network vault.Network) *Keys { return &Keys{db, network} }

const keyColumns = `id, user_id, api_id, prefix, key_hash, scopes, rate_limit_per_minute, created_at, expires_at,
	revoked_at, last_used_at, replaced_by`

// The same secret drawn twice is the same prefix drawn twice: both mean "draw again".
var keyRefusals = refusals{
	"api_keys_prefix_key":   apikey.ErrPrefixTaken,
	"api_keys_key_hash_key": apikey.ErrPrefixTaken,
	"api_keys_api_id_fkey":  listing.ErrNotFound,
}

// KeyByPrefix implements ports.KeyLookup.
func (s *Keys) KeyByPrefix(ctx context.Context, prefix string) (apikey.Key, error) {
	var r struct {
		keyRow
		VaultStopped string `db:"vault_stopped"`
	}
	err := s.db.GetContext(ctx, &r, `
		SELECT `+keyColumns+`, COALESCE((
			SELECT stopped_because FROM vaults v WHERE v.user_id = api_keys.user_id AND v.network = $2), '') AS vault_stopped
		FROM api_keys WHERE prefix = $1`, prefix, s.network)
	if errors.Is(err, sql.ErrNoRows) {
		return apikey.Key{}, apikey.ErrNotFound
	}
	if err != nil {
		return apikey.Key{}, failed("find an API key", err, nil)
	}
	k := r.toDomain()
	k.VaultStopped = r.VaultStopped
	return k, nil
}

// Issue stores a new key, and its owner when the user is new: one statement, whose foreign keys are checked at its end.
func (s *Keys) Issue(ctx context.Context, k apikey.Key) error {
	_, err := s.db.ExecContext(ctx, `
		WITH owner AS (INSERT INTO users (id) VALUES ($2) ON CONFLICT (id) DO NOTHING) `+insertKey, keyArgs(k)...)
	return failed("issue an API key", err, keyRefusals)
}

// Rotate stores next in place of old. The lock on old's row lets one of several rotations at once win; the others meet
// its replacement.
func (s *Keys) Rotate(ctx context.Context, old id.ID, next apikey.Key, graceEnd time.Time) (stored apikey.Key, err error) {
	err = retryTx(ctx, s.db, func(tx *sqlx.Tx) error {
		was, err := lockKey(ctx, tx, old)
		if err != nil {
			return err
		}
		if was.UserID != next.UserID {
			return apikey.ErrForbidden
		}
		if was.Ended(next.CreatedAt) || !was.ReplacedBy.IsZero() {
			return apikey.ErrRevoked
		}
		stored = next
		stored.APIID, stored.Scopes, stored.RateLimitPerMinute = was.APIID, was.Scopes, was.RateLimitPerMinute
		if _, err := tx.ExecContext(ctx, insertKey, keyArgs(stored)...); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE api_keys SET replaced_by = $2, expires_at = LEAST(expires_at, $3) WHERE id = $1`, old, stored.ID, graceEnd)
		return err
	})
	if err != nil {
		return apikey.Key{}, failed("rotate API key "+old.String(), err, keyRefusals)
	}
	return stored, nil
}

// Revoke ends a key at once. The one statement judges and acts; of two at once the later finds nothing left to do.
func (s *Keys) Revoke(ctx context.Context, owner, key id.ID, at time.Time) error {
	var user id.ID
	err := s.db.GetContext(ctx, &user, `
		WITH revoked AS (UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL)
		SELECT user_id FROM api_keys WHERE id = $1`, key, owner, at)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return apikey.ErrNotFound
	case err != nil:
		return failed("revoke API key "+key.String(), err, nil)
	case user != owner:
		return apikey.ErrForbidden
	}
	return nil
}

// OfOwner lists an owner's keys, newest first by id, with their number.
func (s *Keys) OfOwner(ctx context.Context, owner id.ID, limit, offset int) (keys []apikey.Key, total int, err error) {
	err = inSnapshot(ctx, s.db, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM api_keys WHERE user_id = $1`, owner); err != nil {
			return err
		}
		var rows []keyRow
		err := tx.SelectContext(ctx, &rows, `
			SELECT `+keyColumns+` FROM api_keys WHERE user_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3`, owner, limit, offset)
		if err != nil {
			return err
		}
		keys = toDomain(rows, keyRow.toDomain)
		return nil
	})
	return keys, total, failed("list API keys", err, nil)
}

// MarkUsed notes when keys were last used; an older time never replaces a newer one. Rows are locked in the order of
// their ids, so that nodes that mark the same keys at once wait for each other instead of deadlocking.
func (s *Keys) MarkUsed(ctx context.Context, at map[id.ID]time.Time) error {
	if len(at) == 0 {
		return nil
	}
	ids, times := newIDArray(len(at)), newTimeArray(len(at))
	for key, t := range at {
		ids.addID(key)
		times.addTime(t)
	}
	_, err := s.db.ExecContext(ctx, `
		WITH used AS (
			SELECT k.id, u.at FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, at) JOIN api_keys k ON k.id = u.id
			ORDER BY k.id FOR NO KEY UPDATE OF k)
		UPDATE api_keys k SET last_used_at = used.at FROM used
		WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)`, ids.text(), times.text())
	return failed("mark API keys as used", err, nil)
}

func lockKey(ctx context.Context, tx *sqlx.Tx, key id.ID) (apikey.Key, error) {
	var r keyRow
	err := tx.GetContext(ctx, &r, `SELECT `+keyColumns+` FROM api_keys WHERE id = $1 FOR UPDATE`, key)
	if errors.Is(err, sql.ErrNoRows) {
		return apikey.Key{}, apikey.ErrNotFound
	}
	if err != nil {
		return apikey.Key{}, err
	}
	return r.toDomain(), nil
}

const insertKey = `
	INSERT INTO api_keys (id, user_id, api_id, prefix, key_hash, scopes, rate_limit_per_minute, created_at, expires_at,
		revoked_at, last_used_at, replaced_by)
	VALUES ($1, $2, $3, $4, $5, $6, NULLIF($7, 0), $8, $9, $10, $11, $12)`

func keyArgs(k apikey.Key) []any {
	return []any{
		k.ID, k.UserID, k.APIID, k.Prefix, k.Hash[:], pq.StringArray(k.Scopes), k.RateLimitPerMinute, k.CreatedAt,
		nullTime(k.ExpiresAt), nullTime(k.RevokedAt), nullTime(k.LastUsedAt), k.ReplacedBy,
	}
}

type keyRow struct {
	ID                 id.ID          `db:"id"`
	UserID             id.ID          `db:"user_id"`
	APIID              id.ID          `db:"api_id"`
	Prefix             string         `db:"prefix"`
	KeyHash            []byte         `db:"key_hash"`
	Scopes             pq.StringArray `db:"scopes"`
	RateLimitPerMinute sql.NullInt64  `db:"rate_limit_per_minute"`
	CreatedAt          time.Time      `db:"created_at"`
	ExpiresAt          sql.NullTime   `db:"expires_at"`
	RevokedAt          sql.NullTime   `db:"revoked_at"`
	LastUsedAt         sql.NullTime   `db:"last_used_at"`
	ReplacedBy         id.ID          `db:"replaced_by"`
}

func (r keyRow) toDomain() apikey.Key {
	k := apikey.Key{
		ID: r.ID, UserID: r.UserID, APIID: r.APIID, Prefix: r.Prefix, Scopes: r.Scopes,
		RateLimitPerMinute: int(r.RateLimitPerMinute.Int64), CreatedAt: r.CreatedAt.UTC(), ExpiresAt: timeOf(r.ExpiresAt),
		RevokedAt: timeOf(r.RevokedAt), LastUsedAt: timeOf(r.LastUsedAt), ReplacedBy: r.ReplacedBy,
	}
	copy(k.Hash[:], r.KeyHash) // a CHECK holds its length
	return k
}
