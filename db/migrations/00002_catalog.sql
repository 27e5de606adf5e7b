-- +goose Up
CREATE TABLE apis (
    id           uuid PRIMARY KEY,
    developer_id uuid NOT NULL REFERENCES developers (id),
    slug         text NOT NULL CONSTRAINT apis_slug_key UNIQUE CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 80),
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description  text NOT NULL DEFAULT '',
    base_url     text NOT NULL,
    logo_url     text NOT NULL DEFAULT '',
    category     text NOT NULL,
    status       text NOT NULL CHECK (status IN ('draft', 'active', 'paused', 'archived')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX apis_listed ON apis (created_at DESC, id DESC) WHERE status = 'active';
CREATE INDEX apis_developer ON apis (developer_id);

CREATE TABLE api_endpoints (
    id            uuid PRIMARY KEY,
    api_id        uuid   NOT NULL REFERENCES apis (id) ON DELETE CASCADE,
    method        text   NOT NULL CHECK (method IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', '*')),
    path          text   NOT NULL CHECK (path = '*' OR path LIKE '/%'),
    price_stroops bigint NOT NULL CHECK (price_stroops >= 0),
    description   text   NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_endpoints_operation_key UNIQUE (api_id, method, path)
);

CREATE TABLE api_keys (
    id                    uuid PRIMARY KEY,
    user_id               uuid   NOT NULL REFERENCES users (id),
    api_id                uuid   NOT NULL REFERENCES apis (id),
    prefix                text   NOT NULL CONSTRAINT api_keys_prefix_key UNIQUE CHECK (length(prefix) = 16),
    key_hash              bytea  NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes                text[] NOT NULL CHECK (cardinality(scopes) BETWEEN 1 AND 20),
    rate_limit_per_minute int CHECK (rate_limit_per_minute > 0),
    created_at            timestamptz NOT NULL DEFAULT now(),
    expires_at            timestamptz,
    revoked_at            timestamptz,
    last_used_at          timestamptz,
    replaced_by           uuid REFERENCES api_keys (id)
);
CREATE INDEX api_keys_owner ON api_keys (user_id, id DESC);

-- What gateway nodes must hear of. A NOTIFY says "look"; this table says what, so a lost NOTIFY costs only the time to
-- the next look. Readers ask for xid >= the oldest transaction that was open at their last look, so a row that commits
-- late is never missed.
CREATE TABLE changes (
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    kind       text        NOT NULL CHECK (kind IN ('api', 'key')),
    subject    text        NOT NULL, -- api: its id; key: its prefix
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX changes_xid ON changes (xid);
CREATE INDEX changes_changed_at ON changes (changed_at);

-- +goose StatementBegin
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kind text := TG_ARGV[0];
    subject text;
    r record := COALESCE(NEW, OLD);
BEGIN
    subject := CASE TG_TABLE_NAME WHEN 'apis' THEN r.id::text WHEN 'api_keys' THEN to_jsonb(r) ->> 'prefix' ELSE to_jsonb(r) ->> 'api_id' END;
    INSERT INTO changes (kind, subject) VALUES (kind, subject);
    PERFORM pg_notify('callora_changes', '');
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER apis_change AFTER INSERT OR UPDATE OR DELETE ON apis FOR EACH ROW EXECUTE FUNCTION note_change('api');
CREATE TRIGGER api_endpoints_change AFTER INSERT OR UPDATE OR DELETE ON api_endpoints FOR EACH ROW EXECUTE FUNCTION note_change('api');
-- last_used_at alone is no news to a gateway
CREATE TRIGGER api_keys_change AFTER INSERT OR DELETE OR UPDATE OF key_hash, scopes, rate_limit_per_minute, expires_at, revoked_at, api_id, user_id
    ON api_keys FOR EACH ROW EXECUTE FUNCTION note_change('key');

-- +goose Down
DROP TABLE api_keys;
DROP TABLE api_endpoints;
DROP TABLE apis;
DROP FUNCTION note_change;
DROP TABLE changes;
