-- +goose Up

-- A vault that must not pay for the present: calls with its owner's keys are refused, and the words go to the caller.
ALTER TABLE vaults
    ADD COLUMN stopped_at      timestamptz,
    ADD COLUMN stopped_because text CHECK (stopped_because ~ '\S' AND length(stopped_because) <= 300),
    ADD CONSTRAINT vaults_stopped_because_of_something CHECK ((stopped_at IS NULL) = (stopped_because IS NULL));

-- A gateway reads it together with a key, so it is news of all keys of the owner: also of one that is issued while the stop is not
-- yet committed, which no list made here would have.
ALTER TABLE changes DROP CONSTRAINT changes_kind_check, ADD CONSTRAINT changes_kind_check CHECK (kind IN ('api', 'key', 'owner'));
-- +goose StatementBegin
CREATE FUNCTION note_vault_stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, subject) VALUES ('owner', NEW.user_id::text);
    PERFORM pg_notify('callora_changes', '');
    RETURN NULL;
END
$$;
-- +goose StatementEnd
-- Charging, which updates other columns, does not fire it.
CREATE TRIGGER vaults_stop AFTER UPDATE OF stopped_at, stopped_because ON vaults FOR EACH ROW EXECUTE FUNCTION note_vault_stop();

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    FOR look IN 1..2 LOOP -- once before the lock, so that a refusal stops nobody, and once when nothing can come in between
        IF EXISTS (SELECT FROM vaults WHERE stopped_at IS NOT NULL) THEN
            RAISE EXCEPTION 'refused, because it would let % stopped vaults pay again. Nothing was changed. An older program serves on this schema as it is, and does not look at the stop either; whoever means to free them sets stopped_at and stopped_because to NULL',
                (SELECT count(*) FROM vaults WHERE stopped_at IS NOT NULL);
        END IF;
        LOCK TABLE vaults;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP TRIGGER vaults_stop ON vaults;
DROP FUNCTION note_vault_stop;
DELETE FROM changes WHERE kind = 'owner';
ALTER TABLE changes DROP CONSTRAINT changes_kind_check, ADD CONSTRAINT changes_kind_check CHECK (kind IN ('api', 'key'));
ALTER TABLE vaults DROP COLUMN stopped_because, DROP COLUMN stopped_at;
