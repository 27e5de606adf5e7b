-- +goose Up

-- locked_until is the lease of the call that runs under the key. A charged call whose answer is not kept may be repeated once
-- without a charge: repeat_until is the lease of that repeat, NULL before it, in the past once it has been used.
ALTER TABLE idempotency ADD COLUMN repeat_until timestamptz;
UPDATE idempotency SET repeat_until = now() WHERE free_retries > 0;
ALTER TABLE idempotency DROP COLUMN free_retries;

-- The header as it is sent, to the byte: JSON holds neither Latin-1 nor what else HTTP allows in a value.
ALTER TABLE idempotency ADD COLUMN header_lines bytea;
UPDATE idempotency SET header_lines = (
    SELECT convert_to(COALESCE(string_agg(h.key || ': ' || v.value || E'\r\n', '' ORDER BY h.key, v.at), ''), 'UTF8')
    FROM jsonb_each(header) h, jsonb_array_elements_text(h.value) WITH ORDINALITY AS v (value, at))
WHERE header IS NOT NULL;
ALTER TABLE idempotency DROP COLUMN header;

-- Answers are up to 256 kB and live for a day: compressing each costs more than its space.
ALTER TABLE idempotency ALTER COLUMN body SET STORAGE EXTERNAL;

-- +goose Down
ALTER TABLE idempotency ALTER COLUMN body SET STORAGE EXTENDED;
ALTER TABLE idempotency ADD COLUMN header jsonb;
UPDATE idempotency SET header = (
    SELECT COALESCE(jsonb_object_agg(name, lines), '{}') FROM (
        SELECT split_part(line, ': ', 1) AS name, jsonb_agg(substr(line, strpos(line, ': ') + 2) ORDER BY at) AS lines
        FROM regexp_split_to_table(convert_from(header_lines, 'LATIN1'), E'\r\n') WITH ORDINALITY AS l (line, at)
        WHERE line <> '' GROUP BY 1) h)
WHERE header_lines IS NOT NULL;
ALTER TABLE idempotency DROP COLUMN header_lines;
ALTER TABLE idempotency ADD COLUMN free_retries int NOT NULL DEFAULT 0;
UPDATE idempotency SET free_retries = 3 WHERE repeat_until IS NOT NULL;
ALTER TABLE idempotency DROP COLUMN repeat_until;
