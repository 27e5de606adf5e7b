-- +goose Up

-- Part of a vault's money, set aside for one gateway node. held of the vault = sum(granted) of its open leases.
CREATE TABLE leases (
    id         uuid PRIMARY KEY,
    vault_id   uuid   NOT NULL REFERENCES vaults (id),
    node_id    uuid   NOT NULL,
    granted    bigint NOT NULL CHECK (granted > 0),
    used       bigint NOT NULL DEFAULT 0,
    state      text   NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    opened_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    closed_at  timestamptz,
    indexed    bigint NOT NULL DEFAULT 0, -- what is in revenue_ledger of what it used: its paid events up to indexed_to
    indexed_to uuid   NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    indexed_at timestamptz, -- when that was all
    CONSTRAINT leases_never_overdrawn CHECK (used BETWEEN 0 AND granted),
    CONSTRAINT leases_closed_has_time CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    CONSTRAINT leases_indexed_when_closed CHECK (indexed = 0 AND indexed_at IS NULL OR state = 'closed'),
    CONSTRAINT leases_revenue_as_used CHECK (indexed BETWEEN 0 AND used AND (indexed_at IS NULL OR indexed = used))
) WITH (fillfactor = 70); -- used changes with every batch: room for HOT updates
CREATE INDEX leases_open ON leases (expires_at) WHERE state = 'open';
CREATE INDEX leases_vault ON leases (vault_id);
CREATE INDEX leases_vault_open ON leases (vault_id) WHERE state = 'open'; -- balances add these up
CREATE INDEX leases_to_index ON leases (closed_at) WHERE state = 'closed' AND indexed_at IS NULL;

-- Immutable, one row per call, partitioned by time on the UUIDv7 itself, so that the primary key alone makes a second
-- charge for a call impossible. Row-level foreign keys are left out on purpose (docs/decisions): the one statement that
-- writes here joins the open lease, and nothing it names is ever deleted.
CREATE TABLE usage_events (
    id          uuid        NOT NULL,
    lease_id    uuid,
    user_id     uuid        NOT NULL,
    api_id      uuid        NOT NULL,
    endpoint_id uuid        NOT NULL,
    api_key_id  uuid        NOT NULL,
    amount      bigint      NOT NULL CHECK (amount >= 0),
    status_code smallint    NOT NULL,
    latency_us  bigint      NOT NULL CHECK (latency_us >= 0),
    occurred_at timestamptz NOT NULL,
    CONSTRAINT usage_events_paid_by_lease CHECK (amount = 0 OR lease_id IS NOT NULL),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX usage_events_user ON usage_events (user_id, id DESC);
CREATE INDEX usage_events_lease ON usage_events (lease_id, id);
CREATE TABLE usage_events_default PARTITION OF usage_events DEFAULT;

-- The first id of a UUIDv7's millisecond.
-- +goose StatementBegin
CREATE FUNCTION uuid7_floor(t timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT rpad(lpad(to_hex(greatest(floor(extract(epoch FROM t) * 1000), 0)::bigint), 12, '0'), 32, '0')::uuid
$$;
-- +goose StatementEnd

-- Makes the daily partitions of usage_events (days of UTC) from today to `days` ahead; returns how many are new. Safe to
-- repeat and to run from several nodes at once. Attaching a finished table lets calls be charged meanwhile, which
-- CREATE TABLE ... PARTITION OF would not. Events that came before their day's partition move into it. It gives up when a
-- long query stands in its way, as all others would queue behind it: the next pass tries again.
-- +goose StatementBegin
CREATE FUNCTION usage_partitions(days int, today date DEFAULT (now() AT TIME ZONE 'UTC')::date) RETURNS int LANGUAGE plpgsql
    SET lock_timeout = '10s' AS $$
DECLARE
    day date;
    name text;
    first uuid;
    next uuid;
    made int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('callora usage_partitions'));
    FOR i IN 0..days LOOP
        day := today + i;
        name := 'usage_events_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        first := uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
        next := uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE %I (LIKE usage_events INCLUDING ALL)', name);
        -- Events of today may be under way to the default partition, which would refuse them once today has its own:
        -- they wait before they are sent there. Other days have no events yet.
        IF i = 0 THEN
            LOCK TABLE usage_events IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        EXECUTE format('WITH early AS (DELETE FROM usage_events_default WHERE id >= %L AND id < %L RETURNING *)
            INSERT INTO %I SELECT * FROM early', first, next, name);
        EXECUTE format('ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd
SELECT usage_partitions(7);

-- The caller's Idempotency-Key, per consumer. event_id is the first claimant's: whoever takes the key over after a crash
-- charges under the same event, so one key can never be charged twice.
CREATE TABLE idempotency (
    user_id       uuid  NOT NULL REFERENCES users (id),
    key           text  NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint   bytea NOT NULL,
    event_id      uuid  NOT NULL,
    claim         uuid  NOT NULL, -- of the call that runs now; only it may give the key up
    state         text  NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'answered')),
    locked_until  timestamptz NOT NULL,
    body_hash     bytea,
    status_code   int,
    header        jsonb,
    body          bytea, -- NULL in an answered row: the answer was too large to keep
    free_retries  int   NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    FOR look IN 1..2 LOOP -- once before the lock, so that a refusal stops nobody, and once when nothing can come in between
        IF EXISTS (SELECT FROM usage_events) OR EXISTS (SELECT FROM leases) THEN
            RAISE EXCEPTION 'refused, because it would lose what calls have been charged: % leases with % USDC used, and their usage events. Nothing was changed. An older program serves on this schema as it is; whoever means to give the charges up drops the database',
                (SELECT count(*) FROM leases), (SELECT (COALESCE(sum(used), 0) / 10000000)::numeric(40, 7) FROM leases);
        END IF;
        IF EXISTS (SELECT FROM idempotency WHERE expires_at > now()) THEN
            RAISE EXCEPTION 'refused, because it would forget % Idempotency-Keys, so that calls repeated with them would be charged again. Nothing was changed. An older program serves on this schema as it is; the keys expire by %',
                (SELECT count(*) FROM idempotency WHERE expires_at > now()), (SELECT max(expires_at) FROM idempotency);
        END IF;
        LOCK TABLE leases, usage_events, idempotency;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP TABLE idempotency;
DROP TABLE usage_events;
DROP FUNCTION usage_partitions;
DROP FUNCTION uuid7_floor;
DROP TABLE leases;
