-- +goose Up
CREATE TABLE users (
    id              uuid PRIMARY KEY,
    stellar_address text UNIQUE CHECK (stellar_address ~ '^G[A-Z2-7]{55}$'),
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE developers (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL UNIQUE REFERENCES users (id),
    name        text CHECK (length(name) BETWEEN 1 AND 120),
    website     text CHECK (length(website) <= 2048),
    description text CHECK (length(description) <= 500),
    category    text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- One row mirrors one Soroban vault contract. available = balance_snapshot - uncollected - held. It may fall below zero
-- when the owner withdraws on chain, so only its parts are constrained.
CREATE TABLE vaults (
    id               uuid PRIMARY KEY,
    user_id          uuid   NOT NULL REFERENCES users (id),
    network          text   NOT NULL CHECK (network IN ('testnet', 'mainnet')),
    contract_id      text   NOT NULL DEFAULT '',
    balance_snapshot bigint NOT NULL DEFAULT 0 CHECK (balance_snapshot >= 0),
    snapshot_ledger  bigint NOT NULL DEFAULT 0 CHECK (snapshot_ledger >= 0),
    uncollected      bigint NOT NULL DEFAULT 0 CHECK (uncollected >= 0),
    held             bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    last_synced_at   timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vaults_user_network_key UNIQUE (user_id, network)
);

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    FOR look IN 1..2 LOOP -- once before the lock, so that a refusal stops nobody, and once when nothing can come in between
        IF EXISTS (SELECT FROM vaults WHERE balance_snapshot > 0 OR uncollected > 0 OR held > 0 OR contract_id <> '') THEN
            RAISE EXCEPTION 'refused, because it would lose % vaults with a balance of % USDC, of which % USDC are spent and not collected. Nothing was changed. An older program serves on this schema as it is; whoever means to give the vaults up drops the database',
                (SELECT count(*) FROM vaults), (SELECT (sum(balance_snapshot) / 10000000)::numeric(40, 7) FROM vaults),
                (SELECT (sum(uncollected) / 10000000)::numeric(40, 7) FROM vaults);
        END IF;
        LOCK TABLE vaults;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP TABLE vaults;
DROP TABLE developers;
DROP TABLE users;
