-- +goose Up

-- What `callora audit` has proven of the usage events and the revenue of a day of UTC that cannot change any more: all leases
-- that paid for them are closed and booked. A row covers the ids from the one before to the end of its day. Events of leases
-- that were booked after sealed_at are not in it (docs/decisions/0020).
CREATE TABLE audit_checkpoints (
    day            date PRIMARY KEY,
    sealed_at      timestamptz NOT NULL,
    calls          bigint  NOT NULL, -- charged ones, and what they cost
    amount         bigint  NOT NULL,
    digest         numeric NOT NULL, -- sum of 64 bits for each row, so that the order does not matter
    free_calls     bigint  NOT NULL,
    free_digest    numeric NOT NULL,
    revenue_rows   bigint  NOT NULL,
    revenue        bigint  NOT NULL,
    revenue_digest numeric NOT NULL,
    chain          bytea   NOT NULL -- SHA-256 over the row before's and this row, so that none can be altered alone
);

-- A settlement's revenue is added up by every audit.
CREATE INDEX revenue_ledger_settlement ON revenue_ledger (settlement_id) INCLUDE (amount) WHERE settlement_id IS NOT NULL;

-- +goose Down
DROP INDEX revenue_ledger_settlement;
DROP TABLE audit_checkpoints;
