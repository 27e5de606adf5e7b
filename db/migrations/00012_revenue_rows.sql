-- +goose Up

-- Nobody writes to revenue_by_call any more, and calls are charged meanwhile. Leases of which a part was booked are booked to the
-- end first: from now on a lease is booked whole or not at all.
-- +goose StatementBegin
DO $$
DECLARE
    l record;
    rest bigint;
BEGIN
    FOR l IN SELECT * FROM leases WHERE state = 'closed' AND indexed_at IS NULL AND indexed > 0 ORDER BY id FOR UPDATE LOOP
        -- text, so that only the partitions between these ids are locked and read
        EXECUTE format('WITH booked AS (
            INSERT INTO revenue_by_call (usage_event_id, developer_id, api_id, lease_id, amount, earned_at)
            SELECT e.id, a.developer_id, e.api_id, e.lease_id, e.amount, e.occurred_at FROM usage_events e JOIN apis a ON a.id = e.api_id
            WHERE e.lease_id = %L AND e.id > %L AND e.id <= %L AND e.amount > 0
            RETURNING amount) SELECT COALESCE(sum(amount), 0) FROM booked',
            l.id, l.indexed_to, COALESCE(l.last_event, uuid7_floor(l.closed_at + INTERVAL '1 day'))) INTO rest;
        IF l.indexed + rest <> l.used THEN
            RAISE EXCEPTION 'refused, because lease % has used % USDC, of which % are booked as revenue, and its other usage events come to %. Nothing was changed. Find out why (`callora audit` of the version before this one names its day), repair it, and migrate again; `callora migrate down` lets the version before this one book meanwhile',
                l.id, (l.used / 1e7)::numeric(40, 7), (l.indexed / 1e7)::numeric(40, 7), (rest / 1e7)::numeric(40, 7);
        END IF;
        UPDATE leases SET indexed = used, indexed_at = clock_timestamp() WHERE id = l.id;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- A part is a run of calls with the same developer and settlement: what was booked and settled stays so to the call.
SET LOCAL work_mem = '256MB';
-- +goose StatementBegin
DO $$
DECLARE
    had numeric := (SELECT COALESCE(sum(amount), 0) FROM revenue);
    all_calls bigint;
    all_amount numeric;
BEGIN
    INSERT INTO revenue (lease_id, api_id, part, developer_id, user_id, calls, amount, settlement_id, first_event, last_event, earned_at, indexed_at)
    SELECT g.lease_id, g.api_id, row_number() OVER (PARTITION BY g.lease_id, g.api_id ORDER BY g.run) - 1, g.developer_id, v.user_id,
        g.calls, g.amount, g.settlement_id, g.first_event, g.last_event, g.earned_at, g.indexed_at
    FROM (
        SELECT lease_id, api_id, run, developer_id, settlement_id, count(*) AS calls, sum(amount) AS amount,
            min(usage_event_id::text COLLATE "C")::uuid AS first_event, max(usage_event_id::text COLLATE "C")::uuid AS last_event,
            max(earned_at) AS earned_at, max(indexed_at) AS indexed_at
        FROM (
            SELECT *, count(*) FILTER (WHERE changes) OVER (PARTITION BY lease_id, api_id ORDER BY usage_event_id) AS run
            FROM (
                SELECT *, (developer_id, settlement_id) IS DISTINCT FROM (lag(developer_id) OVER calls, lag(settlement_id) OVER calls) AS changes
                FROM revenue_by_call WINDOW calls AS (PARTITION BY lease_id, api_id ORDER BY usage_event_id)
            ) c
        ) r GROUP BY lease_id, api_id, run, developer_id, settlement_id
    ) g JOIN leases l ON l.id = g.lease_id JOIN vaults v ON v.id = l.vault_id;
    SELECT count(*), COALESCE(sum(amount), 0) INTO all_calls, all_amount FROM revenue_by_call;
    IF (SELECT COALESCE(sum(amount), 0) FROM revenue) <> had + all_amount THEN
        RAISE EXCEPTION 'refused, because it would lose revenue: of % calls that have earned % USDC, % USDC are of leases that are not known. Nothing was changed. Find out why, repair it, and migrate again; `callora migrate down` lets the version before this one book meanwhile',
            all_calls, (all_amount / 1e7)::numeric(40, 7), ((had + all_amount - (SELECT COALESCE(sum(amount), 0) FROM revenue)) / 1e7)::numeric(40, 7);
    END IF;
END
$$;
-- +goose StatementEnd
RESET work_mem;

-- +goose StatementBegin
DO $$
BEGIN
    -- A lock that charges wait behind is asked for first, and all others are waited for a moment only, as in docs/decisions/0017.
    FOR try IN 1..1201 LOOP
        IF try > 1200 THEN
            RAISE EXCEPTION 'usage_events was in use for ten minutes; find out by whom (pg_locks, pg_stat_activity) and migrate again. Nothing was changed';
        END IF;
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            LOCK TABLE ONLY usage_events IN ACCESS EXCLUSIVE MODE;
            PERFORM usage_staging_drop(); -- copies, which have the index; the default partition has all of it
            CREATE OR REPLACE VIEW revenue_ledger AS
                SELECT e.id AS usage_event_id, r.developer_id, e.api_id, e.lease_id, e.amount, r.settlement_id, e.occurred_at AS earned_at, r.indexed_at
                FROM revenue r JOIN usage_events e ON e.user_id = r.user_id AND e.lease_id = r.lease_id AND e.api_id = r.api_id AND e.amount > 0
                    AND e.id BETWEEN r.first_event AND r.last_event;
            DROP TABLE revenue_by_call;
            DROP INDEX usage_events_lease; -- a lease's events are found by its user and the bounds of their ids
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.4);
        END;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    LOCK TABLE revenue IN EXCLUSIVE MODE;
    IF EXISTS (
        SELECT FROM revenue r LEFT JOIN (
            SELECT r.lease_id, r.api_id, r.part, count(*) AS calls, sum(e.amount) AS amount
            FROM revenue r JOIN usage_events e ON e.user_id = r.user_id AND e.lease_id = r.lease_id AND e.api_id = r.api_id AND e.amount > 0
                AND e.id BETWEEN r.first_event AND r.last_event
            GROUP BY r.lease_id, r.api_id, r.part
        ) e USING (lease_id, api_id, part) WHERE (r.calls, r.amount) IS DISTINCT FROM (e.calls, e.amount)
    ) THEN
        RAISE EXCEPTION 'refused, because it would change what developers have earned: revenue is not what its usage events come to (were days of usage_events detached? attach them again; else `callora audit` names it). Nothing was changed. An older program serves on this schema as it is, but for booking revenue';
    END IF;
END
$$;
-- +goose StatementEnd
CREATE TABLE revenue_by_call (
    usage_event_id uuid CONSTRAINT revenue_ledger_pkey PRIMARY KEY,
    developer_id   uuid   NOT NULL,
    api_id         uuid   NOT NULL,
    lease_id       uuid   NOT NULL,
    amount         bigint NOT NULL CONSTRAINT revenue_ledger_amount_check CHECK (amount > 0),
    settlement_id  uuid CONSTRAINT revenue_ledger_settlement_id_fkey REFERENCES settlements (id),
    earned_at      timestamptz NOT NULL,
    indexed_at     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO revenue_by_call SELECT * FROM revenue_ledger;
CREATE INDEX revenue_ledger_developer ON revenue_by_call (developer_id, usage_event_id DESC);
CREATE INDEX revenue_ledger_unsettled ON revenue_by_call (developer_id) WHERE settlement_id IS NULL;
CREATE INDEX revenue_ledger_settlement ON revenue_by_call (settlement_id) INCLUDE (amount) WHERE settlement_id IS NOT NULL;
TRUNCATE revenue;
CREATE OR REPLACE VIEW revenue_ledger AS
    SELECT e.id AS usage_event_id, r.developer_id, e.api_id, e.lease_id, e.amount, r.settlement_id, e.occurred_at AS earned_at, r.indexed_at
    FROM revenue r JOIN usage_events e ON e.user_id = r.user_id AND e.lease_id = r.lease_id AND e.api_id = r.api_id AND e.amount > 0
        AND e.id BETWEEN r.first_event AND r.last_event
    UNION ALL SELECT * FROM revenue_by_call;
SELECT usage_staging_drop(); -- copies; the default partition has all of it
CREATE INDEX usage_events_lease ON usage_events (lease_id, id); -- calls are not charged meanwhile
