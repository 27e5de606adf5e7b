-- +goose Up

-- A payout to a developer on chain. Written by settlement; revenue rows name the one that paid them.
CREATE TABLE settlements (
    id           uuid PRIMARY KEY,
    developer_id uuid   NOT NULL REFERENCES developers (id),
    amount       bigint NOT NULL CHECK (amount > 0),
    status       text   NOT NULL CHECK (status IN ('pending', 'completed', 'failed')),
    tx_hash      text UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    CONSTRAINT settlements_completed_is_proven CHECK (status <> 'completed' OR (tx_hash IS NOT NULL AND completed_at IS NOT NULL))
);
CREATE INDEX settlements_developer ON settlements (developer_id, created_at DESC);

-- What each charged call earned its developer: one row per usage event. The statement that writes here joins the event and
-- its API; row-level foreign keys to what it has just read would more than double its cost (docs/decisions/0005).
CREATE TABLE revenue_ledger (
    usage_event_id uuid PRIMARY KEY,
    developer_id   uuid   NOT NULL,
    api_id         uuid   NOT NULL,
    lease_id       uuid   NOT NULL,
    amount         bigint NOT NULL CHECK (amount > 0),
    settlement_id  uuid REFERENCES settlements (id),
    earned_at      timestamptz NOT NULL,
    indexed_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX revenue_ledger_developer ON revenue_ledger (developer_id, usage_event_id DESC);
CREATE INDEX revenue_ledger_unsettled ON revenue_ledger (developer_id) WHERE settlement_id IS NULL;

-- Facts that must reach somebody, written in the transaction of their cause.
CREATE TABLE outbox (
    id           uuid PRIMARY KEY,
    topic        text  NOT NULL,
    subject      uuid  NOT NULL,
    payload      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    available_at timestamptz NOT NULL DEFAULT now(),
    attempts     int   NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    done_at      timestamptz
);
CREATE INDEX outbox_due ON outbox (available_at) WHERE done_at IS NULL;

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    FOR look IN 1..2 LOOP -- once before the lock, so that a refusal stops nobody, and once when nothing can come in between
        IF EXISTS (SELECT FROM settlements) THEN
            RAISE EXCEPTION 'refused, because it would lose % settlements of % USDC, so that developers could be paid twice. Nothing was changed. An older program serves on this schema as it is; whoever means to give the settlements up drops the database',
                (SELECT count(*) FROM settlements), (SELECT (sum(amount) / 10000000)::numeric(40, 7) FROM settlements);
        END IF;
        IF EXISTS (SELECT FROM revenue_ledger) THEN
            RAISE EXCEPTION 'refused, because it would lose what developers have earned with % calls: % USDC. Nothing was changed. An older program serves on this schema as it is; whoever means to give the revenue up drops the database',
                (SELECT count(*) FROM revenue_ledger), (SELECT (sum(amount) / 10000000)::numeric(40, 7) FROM revenue_ledger);
        END IF;
        IF EXISTS (SELECT FROM outbox WHERE done_at IS NULL) THEN
            RAISE EXCEPTION 'refused, because it would lose % facts in the outbox that nobody has been told yet. Nothing was changed. An older program serves on this schema as it is; a running one empties the outbox',
                (SELECT count(*) FROM outbox WHERE done_at IS NULL);
        END IF;
        LOCK TABLE settlements, revenue_ledger, outbox;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP TABLE outbox;
DROP TABLE revenue_ledger;
DROP TABLE settlements;
