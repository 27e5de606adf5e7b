-- +goose Up

-- A node that is short of a vault's money asks those who have it idle to give it back. The message is its own limit: none is
-- written while there is a young one, and who looks has the vault locked.
ALTER TABLE changes DROP CONSTRAINT changes_kind_check, ADD CONSTRAINT changes_kind_check CHECK (kind IN ('api', 'key', 'owner', 'recall'));
CREATE INDEX changes_recalls ON changes (subject, changed_at) WHERE kind = 'recall';

-- +goose Down
DROP INDEX changes_recalls;
DELETE FROM changes WHERE kind = 'recall'; -- no money is in them: what is idle goes back after LEASE_IDLE_MS
ALTER TABLE changes DROP CONSTRAINT changes_kind_check, ADD CONSTRAINT changes_kind_check CHECK (kind IN ('api', 'key', 'owner'));
