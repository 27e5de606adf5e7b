-- +goose Up

-- What a closed lease earned the developer of an API: one row for all calls of the two (docs/decisions/0030). Written by one pass, which
-- names part 0; further parts are of rows from before, of which not all had the same developer and settlement. Like
-- revenue_ledger before it, it has no foreign keys to what the statement that writes has just read (docs/decisions/0005).
CREATE TABLE revenue (
    lease_id      uuid   NOT NULL,
    api_id        uuid   NOT NULL,
    part          int    NOT NULL DEFAULT 0,
    developer_id  uuid   NOT NULL,
    user_id       uuid   NOT NULL, -- who made the calls: the lease's events are found by it
    calls         bigint NOT NULL CHECK (calls > 0),
    amount        bigint NOT NULL CHECK (amount > 0),
    settlement_id uuid REFERENCES settlements (id),
    first_event   uuid   NOT NULL, -- the calls' usage events are the paid ones of the lease and the API between these
    last_event    uuid   NOT NULL,
    earned_at     timestamptz NOT NULL, -- the last of the calls
    indexed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lease_id, api_id, part),
    CONSTRAINT revenue_events_in_order CHECK (first_event <= last_event)
);
CREATE INDEX revenue_developer ON revenue (developer_id, earned_at DESC);
CREATE INDEX revenue_unsettled ON revenue (developer_id) WHERE settlement_id IS NULL;
CREATE INDEX revenue_settlement ON revenue (settlement_id) INCLUDE (amount) WHERE settlement_id IS NOT NULL;

-- From now on revenue_ledger is read and not written: a pass of an older program fails, changes nothing, and leaves the
-- leases to the new one. The step after this one makes the rows that are there into rows by lease. Who waits for the
-- table waits for 100 ms at most, as a pass that came behind would wait with leases locked.
-- +goose StatementBegin
DO $$
DECLARE
    a record;
BEGIN
    FOR try IN 1..1201 LOOP
        IF try > 1200 THEN
            RAISE EXCEPTION 'revenue_ledger was in use for ten minutes; find out by whom (pg_locks, pg_stat_activity) and migrate again. Nothing was changed';
        END IF;
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            ALTER TABLE revenue_ledger RENAME TO revenue_by_call;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.4);
        END;
    END LOOP;
    CREATE VIEW revenue_ledger AS
        SELECT e.id AS usage_event_id, r.developer_id, e.api_id, e.lease_id, e.amount, r.settlement_id, e.occurred_at AS earned_at, r.indexed_at
        FROM revenue r JOIN usage_events e ON e.user_id = r.user_id AND e.lease_id = r.lease_id AND e.api_id = r.api_id AND e.amount > 0
            AND e.id BETWEEN r.first_event AND r.last_event
        UNION ALL SELECT * FROM revenue_by_call;
    FOR a IN SELECT g.grantee, g.privilege_type FROM pg_class c, aclexplode(c.relacl) g
        WHERE c.oid = 'revenue_by_call'::regclass AND g.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON revenue, revenue_ledger TO %s', a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    FOR look IN 1..2 LOOP -- once before the lock, so that a refusal stops nobody, and once when nothing can come in between
        IF EXISTS (SELECT FROM revenue) THEN
            RAISE EXCEPTION 'refused, because it would lose what developers have earned with % calls: % USDC, booked since the step down before this one. Nothing was changed. `callora migrate up`, stop the programs that know this version, and step down again',
                (SELECT sum(calls) FROM revenue), (SELECT (sum(amount) / 10000000)::numeric(40, 7) FROM revenue);
        END IF;
        LOCK TABLE revenue;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP VIEW revenue_ledger;
ALTER TABLE revenue_by_call RENAME TO revenue_ledger;
DROP TABLE revenue;
