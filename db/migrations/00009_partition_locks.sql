-- +goose Up

-- While a charge waits for a step, the step only touches the catalogue, whatever number of events there is; it waits for one
-- lock, 100 ms at most, and for no other behind that one (docs/decisions/0017). And today comes before an older move.

-- Makes the daily partitions of usage_events (days of UTC) from today to `days` ahead; returns how many are new. A day that
-- has events in the default partition, up to two years back, is staged instead: usage_partitions_move does the rest. So is
-- any day while the default partition is not nearly empty, as attaching a table reads all of that one. While a move is under way
-- nothing else is made, unless today is not in it: then it is given up for one that is (1).
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_partitions(days int, today date DEFAULT (now() AT TIME ZONE 'UTC')::date) RETURNS int LANGUAGE plpgsql
    SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    most_back   constant int := 731;
    -- at once: each adds to the moment in which nobody can charge, and more where there are many partitions
    most_staged constant int := greatest(4, 31 - (SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage_events'::regclass) / 40);
    small       constant boolean := pg_relation_size('usage_events_default') <= 128 * 1024;
    attach      date[] := '{}';
    stage       date[] := '{}';
    day         date;
    at          uuid;
BEGIN
    IF days NOT BETWEEN 0 AND 60 THEN
        RAISE EXCEPTION 'usage_partitions: days must be from 0 to 60, not %', days;
    END IF;
    IF today <> (now() AT TIME ZONE 'UTC')::date AND NOT pg_has_role(session_user, current_user, 'USAGE') THEN
        RAISE EXCEPTION 'usage_partitions: only the owner of the function may name another day than today';
    END IF;
    PERFORM set_config('lock_timeout', '10s', true); -- whoever waits for another node stands in nobody's way
    PERFORM pg_advisory_xact_lock(hashtext('callora usage_partitions'));
    PERFORM set_config('lock_timeout', '100ms', true);

    IF EXISTS (SELECT FROM usage_staging) THEN
        IF to_regclass(usage_partition_name(today)) IS NOT NULL THEN
            RETURN 0;
        END IF;
        PERFORM usage_staging_drop(); -- days ago something stopped it; made anew, it begins with today
        RETURN 1;
    END IF;
    FOR i IN 0..days LOOP
        day := today + i;
        CONTINUE WHEN to_regclass(usage_partition_name(day)) IS NOT NULL;
        IF small AND NOT EXISTS (SELECT FROM usage_events_default d WHERE d.id >= usage_day_floor(day) AND d.id < usage_day_floor(day + 1)) THEN
            attach := attach || day;
        ELSIF cardinality(stage) < most_staged THEN
            stage := stage || day;
        END IF;
    END LOOP;
    at := usage_day_floor(today - most_back);
    WHILE cardinality(stage) < most_staged LOOP
        SELECT d.id INTO at FROM usage_events_default d WHERE d.id >= at AND d.id < usage_day_floor(today) ORDER BY d.id LIMIT 1;
        EXIT WHEN NOT FOUND;
        day := usage_day(at);
        at := usage_day_floor(day + 1);
        CONTINUE WHEN to_regclass(usage_partition_name(day)) IS NOT NULL; -- somebody has detached it
        stage := stage || day;
    END LOOP;

    FOREACH day IN ARRAY attach LOOP
        PERFORM usage_partition_create(usage_partition_name(day));
    END LOOP;
    IF cardinality(stage) > 0 THEN
        PERFORM usage_staging_create(stage);
    END IF;
    IF cardinality(attach) > 0 THEN
        -- An event may be under way to the default partition, which would refuse it once its day has its own.
        LOCK TABLE ONLY usage_events IN ACCESS EXCLUSIVE MODE;
        LOCK TABLE ONLY usage_events_default IN ACCESS EXCLUSIVE MODE NOWAIT; -- who reads it by its own name
        FOREACH day IN ARRAY attach LOOP
            IF EXISTS (SELECT FROM usage_events_default d WHERE d.id >= usage_day_floor(day) AND d.id < usage_day_floor(day + 1)) THEN
                RAISE EXCEPTION 'events of % came before their partition', day USING ERRCODE = 'lock_not_available';
            END IF;
            EXECUTE format('ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                usage_partition_name(day), usage_day_floor(day), usage_day_floor(day + 1));
        END LOOP;
    END IF;
    IF cardinality(stage) > 0 THEN
        PERFORM usage_staging_begin(stage);
    END IF;
    RETURN cardinality(attach);
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION usage_partitions(int, date) SET search_path = %I, pg_temp', current_schema());
END
$$;
-- +goose StatementEnd

-- Makes the tables of these days and the next default partition, empty.
-- +goose StatementBegin
CREATE FUNCTION usage_staging_create(stage date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d date;
BEGIN
    PERFORM usage_partition_create('usage_events_default_next');
    FOREACH d IN ARRAY stage LOOP
        PERFORM usage_partition_create(usage_staging_name(d));
        -- what lets the table be attached unread
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT usage_events_staged CHECK (id >= %L AND id < %L)',
            usage_staging_name(d), usage_day_floor(d), usage_day_floor(d + 1));
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Lets them follow the default partition: an insert that has not seen that they do is waited for.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_staging_begin(stage date[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_events_default IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO usage_staging (day) SELECT unnest(stage);
    INSERT INTO usage_staging (day, copy_to) VALUES (NULL, (SELECT id FROM usage_events_default ORDER BY id DESC LIMIT 1));
    INSERT INTO usage_events_default_next SELECT * FROM usage_events_default WHERE id = '00000000-0000-0000-0000-000000000000';
END
$$;
-- +goose StatementEnd

-- Finds out whether somebody vacuums what is staged, before others wait. Charges do not mind the locks it takes.
-- +goose StatementBegin
CREATE FUNCTION usage_staging_undisturbed() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d date;
BEGIN
    LOCK TABLE ONLY usage_events_default IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    FOR d IN SELECT day FROM usage_staging LOOP
        EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', usage_staging_name(d));
    END LOOP;
END
$$;
-- +goose StatementEnd

-- What is true of the ids that are for the next default partition: they are of no day that has its own, or gets it now.
-- +goose StatementBegin
CREATE FUNCTION usage_staging_rest() RETURNS text LANGUAGE sql STABLE AS $$
    WITH taken AS (
        SELECT bound[1] COLLATE "C" AS lo, bound[2] COLLATE "C" AS hi
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
            regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([-0-9a-f]{36})''\) TO \(''([-0-9a-f]{36})''\)') bound
        WHERE i.inhparent = 'usage_events'::regclass AND bound IS NOT NULL
        UNION ALL SELECT usage_day_floor(day)::text, usage_day_floor(day + 1)::text FROM usage_staging WHERE day IS NOT NULL
    ), starts AS (
        SELECT lo, hi, lo IS DISTINCT FROM lag(hi) OVER (ORDER BY lo) AS apart FROM taken
    ), runs AS (
        SELECT lo, hi, count(*) FILTER (WHERE apart) OVER (ORDER BY lo) AS run FROM starts
    ), joined AS (
        SELECT min(lo) AS lo, max(hi) AS hi FROM runs GROUP BY run
    ) SELECT string_agg(format('(id < %L OR id >= %L)', lo, hi), ' AND ') FROM joined
$$;
-- +goose StatementEnd

-- Gives up what is staged: the default partition still has all of it.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_staging_drop() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    staged text;
BEGIN
    PERFORM usage_staging_undisturbed();
    LOCK TABLE usage_events_default IN SHARE ROW EXCLUSIVE MODE;
    FOR staged IN DELETE FROM usage_staging RETURNING usage_staging_name(day) LOOP
        EXECUTE format('DROP TABLE %I', staged);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Puts what is staged in the place of the default partition, in three steps. In the last one nobody reads or writes
-- usage_events, so that it only touches the catalogue; the others prove that the next default partition need not be read then.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_staging_attach() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    d     date;
    index text;
    made  int := 0;
BEGIN
    PERFORM usage_staging_undisturbed();
    CASE (SELECT convalidated FROM pg_constraint WHERE conrelid = 'usage_events_default_next'::regclass AND conname = 'usage_events_staged')
    WHEN true THEN NULL;
    WHEN false THEN
        ALTER TABLE usage_events_default_next VALIDATE CONSTRAINT usage_events_staged; -- beside charges
        RETURN 1;
    ELSE
        EXECUTE 'ALTER TABLE usage_events_default_next ADD CONSTRAINT usage_events_staged CHECK (' || usage_staging_rest() || ') NOT VALID';
        RETURN 1;
    END CASE;
    LOCK TABLE ONLY usage_events IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE ONLY usage_events_default IN ACCESS EXCLUSIVE MODE NOWAIT; -- who reads it by its own name
    DROP TABLE usage_events_default;
    FOR d IN DELETE FROM usage_staging WHERE day IS NOT NULL RETURNING day LOOP
        EXECUTE format('ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            usage_staging_name(d), usage_day_floor(d), usage_day_floor(d + 1));
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT usage_events_staged', usage_staging_name(d));
        made := made + 1;
    END LOOP;
    DELETE FROM usage_staging;
    FOR index IN SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'usage_events_default_next'::regclass LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index, replace(index, '_default_next', '_default'));
    END LOOP;
    ALTER TABLE usage_events_default_next RENAME TO usage_events_default;
    ALTER TABLE usage_events ATTACH PARTITION usage_events_default DEFAULT;
    ALTER TABLE usage_events_default DROP CONSTRAINT usage_events_staged;
    CREATE TRIGGER usage_events_default_follow AFTER INSERT OR UPDATE OR DELETE ON usage_events_default
        FOR EACH ROW EXECUTE FUNCTION usage_staging_follow();
    RETURN made;
END
$$;
-- +goose StatementEnd

-- +goose Down
SELECT usage_staging_drop(); -- copies; the default partition has all of it
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_partitions(days int, today date DEFAULT (now() AT TIME ZONE 'UTC')::date) RETURNS int LANGUAGE plpgsql
    SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    most_back   constant int := 731;
    most_staged constant int := 31; -- at once: each adds to the moment in which nobody can charge
    small       constant boolean := pg_relation_size('usage_events_default') <= 16 * 1024 * 1024;
    underway    boolean;
    attach      date[] := '{}';
    stage       date[] := '{}';
    day         date;
    at          uuid;
BEGIN
    IF days NOT BETWEEN 0 AND 60 THEN
        RAISE EXCEPTION 'usage_partitions: days must be from 0 to 60, not %', days;
    END IF;
    IF today <> (now() AT TIME ZONE 'UTC')::date AND NOT pg_has_role(session_user, current_user, 'USAGE') THEN
        RAISE EXCEPTION 'usage_partitions: only the owner of the function may name another day than today';
    END IF;
    PERFORM set_config('lock_timeout', '10s', true); -- whoever waits for another node stands in nobody's way
    PERFORM pg_advisory_xact_lock(hashtext('callora usage_partitions'));
    PERFORM set_config('lock_timeout', '100ms', true);

    underway := EXISTS (SELECT FROM usage_staging);
    FOR i IN 0..days LOOP
        day := today + i;
        CONTINUE WHEN to_regclass(usage_partition_name(day)) IS NOT NULL;
        IF small AND NOT EXISTS (SELECT FROM usage_events_default d WHERE d.id >= usage_day_floor(day) AND d.id < usage_day_floor(day + 1)) THEN
            attach := attach || day;
        ELSE
            stage := stage || day;
        END IF;
    END LOOP;
    at := usage_day_floor(today - most_back);
    WHILE NOT underway AND cardinality(stage) < most_staged LOOP
        SELECT d.id INTO at FROM usage_events_default d WHERE d.id >= at AND d.id < usage_day_floor(today) ORDER BY d.id LIMIT 1;
        EXIT WHEN NOT FOUND;
        day := usage_day(at);
        at := usage_day_floor(day + 1);
        CONTINUE WHEN to_regclass(usage_partition_name(day)) IS NOT NULL; -- somebody has detached it
        stage := stage || day;
    END LOOP;

    IF cardinality(attach) > 0 THEN
        FOREACH day IN ARRAY attach LOOP
            PERFORM usage_partition_create(usage_partition_name(day));
        END LOOP;
        -- An event may be under way to the default partition, which would refuse it once its day has its own.
        LOCK TABLE ONLY usage_events IN SHARE ROW EXCLUSIVE MODE;
        FOREACH day IN ARRAY attach LOOP
            IF EXISTS (SELECT FROM usage_events_default d WHERE d.id >= usage_day_floor(day) AND d.id < usage_day_floor(day + 1)) THEN
                RAISE EXCEPTION 'events of % came before their partition', day USING ERRCODE = 'lock_not_available';
            END IF;
            EXECUTE format('ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                usage_partition_name(day), usage_day_floor(day), usage_day_floor(day + 1));
        END LOOP;
    END IF;
    IF cardinality(stage) > 0 AND NOT underway THEN
        PERFORM usage_staging_begin(stage);
    END IF;
    RETURN cardinality(attach);
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION usage_partitions(int, date) SET search_path = %I, pg_temp', current_schema());
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_staging_begin(stage date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d date;
BEGIN
    PERFORM usage_partition_create('usage_events_default_next');
    FOREACH d IN ARRAY stage LOOP
        PERFORM usage_partition_create(usage_staging_name(d));
        -- what lets the table be attached unread
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT usage_events_staged CHECK (id >= %L AND id < %L)',
            usage_staging_name(d), usage_day_floor(d), usage_day_floor(d + 1));
    END LOOP;
    LOCK TABLE usage_events_default IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO usage_staging (day) SELECT unnest(stage);
    INSERT INTO usage_staging (day, copy_to) VALUES (NULL, (SELECT id FROM usage_events_default ORDER BY id DESC LIMIT 1));
    INSERT INTO usage_events_default_next SELECT * FROM usage_events_default WHERE id = '00000000-0000-0000-0000-000000000000';
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_staging_drop() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    staged text;
BEGIN
    LOCK TABLE usage_events_default IN SHARE ROW EXCLUSIVE MODE;
    FOR staged IN DELETE FROM usage_staging RETURNING usage_staging_name(day) LOOP
        EXECUTE format('DROP TABLE %I', staged);
    END LOOP;
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION usage_staging_attach() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    d     date;
    index text;
    made  int := 0;
BEGIN
    LOCK TABLE ONLY usage_events_default IN SHARE UPDATE EXCLUSIVE MODE NOWAIT; -- a vacuum
    FOR d IN SELECT day FROM usage_staging LOOP
        EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', usage_staging_name(d));
    END LOOP;
    LOCK TABLE ONLY usage_events IN ACCESS EXCLUSIVE MODE;
    DROP TABLE usage_events_default;
    FOR d IN DELETE FROM usage_staging WHERE day IS NOT NULL RETURNING day LOOP
        EXECUTE format('ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            usage_staging_name(d), usage_day_floor(d), usage_day_floor(d + 1));
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT usage_events_staged', usage_staging_name(d));
        made := made + 1;
    END LOOP;
    DELETE FROM usage_staging;
    FOR index IN SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'usage_events_default_next'::regclass LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index, replace(index, '_default_next', '_default'));
    END LOOP;
    ALTER TABLE usage_events_default_next RENAME TO usage_events_default;
    ALTER TABLE usage_events ATTACH PARTITION usage_events_default DEFAULT;
    CREATE TRIGGER usage_events_default_follow AFTER INSERT OR UPDATE OR DELETE ON usage_events_default
        FOR EACH ROW EXECUTE FUNCTION usage_staging_follow();
    RETURN made;
END
$$;
-- +goose StatementEnd
DROP FUNCTION usage_staging_create, usage_staging_undisturbed, usage_staging_rest;
