-- +goose Up

-- Events of a day without a partition go to the default one. The day gets its partition later, and nobody waits for that
-- (docs/decisions/0017): tables beside are filled with copies, a page at a time, while a trigger on the default partition
-- keeps them in step with it. When they hold the same, they take its place at once. Until then usage_events has every event
-- exactly once: where it has been written.
CREATE TABLE usage_staging (
    day       date UNIQUE, -- whose table is being filled; NULL: the next default partition, for ids of none of these days
    copied_to uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000', -- the next default's row: how far all are filled
    copy_to   uuid,        -- likewise: how far they must be; what is written since they follow is theirs already
    copied    text[],      -- likewise: filled so far, while these transactions ran
    checked   boolean NOT NULL DEFAULT false -- likewise: and found to hold the same
);

CREATE FUNCTION usage_partition_name(day date) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT 'usage_events_' || to_char(day, 'YYYYMMDD')
$$;

-- Names are computed and never stored: whoever may write to usage_staging cannot name another table.
CREATE FUNCTION usage_staging_name(day date) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT COALESCE(usage_partition_name(day), 'usage_events_default_next')
$$;

-- The first id of a day of UTC.
CREATE FUNCTION usage_day_floor(day date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT uuid7_floor(day::timestamp AT TIME ZONE 'UTC')
$$;

-- The day of UTC of a UUIDv7.
CREATE FUNCTION usage_day(id uuid) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT (to_timestamp(('x0000' || left(replace(id::text, '-', ''), 12))::bit(64)::bigint / 1000.0) AT TIME ZONE 'UTC')::date
$$;

-- +goose StatementBegin
CREATE FUNCTION usage_staging_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    staged text;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT usage_staging_name(s.day) INTO staged FROM usage_staging s WHERE s.day = usage_day(OLD.id) OR s.day IS NULL ORDER BY s.day LIMIT 1;
        IF FOUND THEN
            EXECUTE format('DELETE FROM %I WHERE id = $1', staged) USING OLD.id;
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT usage_staging_name(s.day) INTO staged FROM usage_staging s WHERE s.day = usage_day(NEW.id) OR s.day IS NULL ORDER BY s.day LIMIT 1;
        IF FOUND THEN
            EXECUTE format('INSERT INTO %I SELECT ($1).* ON CONFLICT DO NOTHING', staged) USING NEW;
        END IF;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER usage_events_default_follow AFTER INSERT OR UPDATE OR DELETE ON usage_events_default
    FOR EACH ROW EXECUTE FUNCTION usage_staging_follow();

-- Makes the daily partitions of usage_events (days of UTC) from today to `days` ahead; returns how many are new. A day that
-- has events in the default partition, up to two years back, is staged instead: usage_partitions_move does the rest. So is
-- any day while the default partition is large, as attaching a table reads all of that one. Other ids stay there: those of a
-- clock that is wrong by years must not make thousands of days.
--
-- Safe to repeat and to run from several nodes at once. It gives up (55P03) when a long query stands in its way, as all
-- others would queue behind it. It runs with its owner's rights, so that a role without a right to the schema can serve.
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

-- Makes a table like usage_events, that those may read and write who may do so there.
-- +goose StatementBegin
CREATE FUNCTION usage_partition_create(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a record;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE usage_events INCLUDING ALL)', name);
    FOR a IN SELECT g.grantee, g.privilege_type FROM pg_class c, aclexplode(c.relacl) g
        WHERE c.oid = 'usage_events'::regclass AND g.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s', a.privilege_type, name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Makes the tables of these days and the next default partition, empty, and lets them follow the default partition: an
-- insert that has not seen that they do is waited for.
-- +goose StatementBegin
CREATE FUNCTION usage_staging_begin(stage date[]) RETURNS void LANGUAGE plpgsql AS $$
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

-- Gives up what is staged: the default partition still has all of it.
-- +goose StatementBegin
CREATE FUNCTION usage_staging_drop() RETURNS void LANGUAGE plpgsql AS $$
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

-- Does one step of what usage_partitions has staged, and returns how many events or partitions it was; 0: nothing is to do,
-- or another node does it. A step that finds somebody in its way gives up (55P03), and can be tried again.
-- +goose StatementBegin
CREATE FUNCTION usage_partitions_move(page int DEFAULT 5000) RETURNS int LANGUAGE plpgsql
    SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    rest   usage_staging;
    staged date;
    events int;
    last   uuid;
    open   text;
    copies text;
    same   boolean;
BEGIN
    IF page NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'usage_partitions_move: page must be from 1 to 100000, not %', page;
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('callora usage_partitions')) THEN
        RETURN 0;
    END IF;
    SELECT * INTO rest FROM usage_staging WHERE day IS NULL;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    IF rest.copied IS NULL THEN
        SELECT count(*), max(p.id::text COLLATE "C")::uuid INTO events, last
        FROM (SELECT d.id FROM usage_events_default d WHERE d.id > rest.copied_to AND d.id <= rest.copy_to ORDER BY d.id LIMIT page) p;
        IF events = 0 THEN -- a snapshot from before now may lack copies, so its transaction must not meet them
            UPDATE usage_staging SET copied = usage_transactions() WHERE day IS NULL;
            RETURN 1;
        END IF;
        -- FOR SHARE: an event that is being voided is waited for, and one that is copied is voided afterwards, copy and all
        FOR staged IN SELECT s.day FROM usage_staging s WHERE s.day BETWEEN usage_day(rest.copied_to) AND usage_day(last) LOOP
            EXECUTE format('INSERT INTO %I (SELECT * FROM usage_events_default
                WHERE id > $1 AND id <= $2 AND id >= $3 AND id < $4 FOR SHARE) ON CONFLICT DO NOTHING', usage_staging_name(staged))
                USING rest.copied_to, last, usage_day_floor(staged), usage_day_floor(staged + 1);
        END LOOP;
        INSERT INTO usage_events_default_next (SELECT * FROM usage_events_default d WHERE d.id > rest.copied_to AND d.id <= last
            AND NOT EXISTS (SELECT FROM usage_staging s WHERE s.day = usage_day(d.id)) FOR SHARE OF d) ON CONFLICT DO NOTHING;
        UPDATE usage_staging SET copied_to = last WHERE day IS NULL;
        RETURN events;
    END IF;

    SELECT string_agg(l.pid::text, ', ') INTO open FROM pg_locks l
    WHERE l.locktype = 'virtualxid' AND l.virtualxid = l.virtualtransaction AND l.virtualxid = ANY (rest.copied);
    IF open <> '' THEN
        RAISE EXCEPTION 'transactions are open that began before all events were copied (pid %)', open USING ERRCODE = 'lock_not_available';
    END IF;
    IF NOT rest.checked THEN
        SELECT string_agg(format('SELECT count(*) AS n, sum(amount) AS amount FROM %I', usage_staging_name(day)), ' UNION ALL ') INTO copies FROM usage_staging;
        EXECUTE format('SELECT (d.n, d.amount) IS NOT DISTINCT FROM (c.n, c.amount)
            FROM (SELECT count(*)::numeric AS n, sum(amount) AS amount FROM usage_events_default) d,
                 (SELECT sum(n) AS n, sum(amount) AS amount FROM (%s) s) c', copies) INTO same;
        IF NOT same THEN -- somebody has written around the trigger
            RAISE WARNING 'the copies of usage_events_default do not hold the same; they are made anew';
            PERFORM usage_staging_drop();
            RETURN 0;
        END IF;
        UPDATE usage_staging SET checked = true WHERE day IS NULL;
        RETURN 1;
    END IF;
    RETURN usage_staging_attach();
END
$$;
-- +goose StatementEnd

-- The transactions that are open in this database now, but for this one and those of autovacuum.
CREATE FUNCTION usage_transactions() RETURNS text[] LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE(array_agg(l.virtualtransaction), '{}')
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.virtualxid = l.virtualtransaction AND l.pid <> pg_backend_pid()
      AND a.datname = current_database() AND a.usesysid IS NOT NULL
$$;

-- Puts what is staged in the place of the default partition. Nobody reads or writes usage_events meanwhile, so that it only
-- touches the catalogue; what could keep it waiting then is asked before.
-- +goose StatementBegin
CREATE FUNCTION usage_staging_attach() RETURNS int LANGUAGE plpgsql AS $$
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

-- How the partitions are: whole days ahead of today that have theirs (-1: today has none), and the events in the default
-- partition, up to 10,000: those that wait for the partition of their day, and those that stay, as their day will have none.
-- +goose StatementBegin
CREATE FUNCTION usage_partitions_state(days int, OUT ahead int, OUT waiting int, OUT strays int) LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
DECLARE
    today  constant date := (now() AT TIME ZONE 'UTC')::date;
    oldest constant uuid := usage_day_floor(today - 731);
    newest constant uuid := usage_day_floor(today + days + 1);
BEGIN
    ahead := -1;
    WHILE EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(usage_partition_name(today + ahead + 1)) AND inhparent = 'usage_events'::regclass) LOOP
        ahead := ahead + 1;
    END LOOP;
    SELECT count(*) INTO waiting FROM (SELECT FROM usage_events_default WHERE id >= oldest AND id < newest LIMIT 10000) d;
    SELECT count(*) INTO strays FROM (SELECT FROM usage_events_default WHERE id < oldest OR id >= newest LIMIT 10000) d;
END
$$;
-- +goose StatementEnd

-- Functions with their owner's rights look for names in this schema alone.
-- +goose StatementBegin
DO $$
DECLARE
    f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['usage_staging_follow()', 'usage_partitions(int, date)', 'usage_partitions_move(int)', 'usage_partitions_state(int)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema());
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
SELECT usage_staging_drop(); -- copies; the default partition has all of it
DROP TRIGGER usage_events_default_follow ON usage_events_default;
DROP FUNCTION usage_staging_follow, usage_partitions, usage_partitions_move, usage_partitions_state, usage_partition_create, usage_staging_begin,
    usage_staging_drop, usage_staging_attach, usage_transactions;
DROP TABLE usage_staging;
DROP FUNCTION usage_staging_name, usage_day, usage_day_floor, usage_partition_name;
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
