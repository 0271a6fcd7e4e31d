-- What callers have spent of their budgets. A row that is full says nothing and is swept: see auth/budgets.py.
CREATE TABLE IF NOT EXISTS budgets (
    key_hash BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the purpose and the caller',
    full_at  DATETIME(6) NOT NULL COMMENT 'UTC: when the budget is full again; at most an hour from now',
    PRIMARY KEY (key_hash),
    KEY by_full_at (full_at)
);
