-- +goose Up

-- epoch is the fence of a void: it rises with each, and a batch that was sent before then finds another epoch than its own.
-- first_event and last_event are the bounds of the ids of the lease's usage events, so that whoever looks for them reads only the
-- partitions that hold them. NULL: none yet, or a lease of a node that did not write them; see postgres.Revenue.
ALTER TABLE leases
    ADD COLUMN epoch       bigint NOT NULL DEFAULT 0,
    ADD COLUMN first_event uuid,
    ADD COLUMN last_event  uuid;

-- When the call under the key was charged. The statement that charges it sets it together with the state.
ALTER TABLE idempotency ADD COLUMN answered_at timestamptz;
UPDATE idempotency SET answered_at = created_at WHERE state = 'answered';

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    FOR look IN 1..2 LOOP -- once before the lock, so that a refusal stops nobody, and once when nothing can come in between
        IF EXISTS (SELECT FROM leases WHERE first_event < uuid7_floor(opened_at - INTERVAL '1 hour')) THEN
            RAISE EXCEPTION 'refused, because it would forget where the usage events of % leases begin: they paid for calls that began more than an hour before they were opened, and revenue and audit would miss those. Nothing was changed. An older program serves on this schema as it is',
                (SELECT count(*) FROM leases WHERE first_event < uuid7_floor(opened_at - INTERVAL '1 hour'));
        END IF;
        LOCK TABLE leases;
    END LOOP;
END
$$;
-- +goose StatementEnd
ALTER TABLE idempotency DROP COLUMN answered_at;
ALTER TABLE leases DROP COLUMN last_event, DROP COLUMN first_event, DROP COLUMN epoch;
