-- Failed checks of passwords. Keys are HMACs, so the table names neither accounts nor addresses.
CREATE TABLE IF NOT EXISTS sign_in_failures (
    key_hash  BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the address, or of purpose, kind and claim: see auth/throttle.py',
    failures  DOUBLE      NOT NULL COMMENT 'as of as_of; they are forgiven little by little',
    as_of     DATETIME(6) NOT NULL COMMENT 'UTC',
    opens_at  DATETIME(6) NOT NULL COMMENT 'UTC: until then every attempt is refused unseen',
    clears_at DATETIME(6) NOT NULL COMMENT 'UTC: when all is forgiven and the row says nothing',
    PRIMARY KEY (key_hash),
    KEY by_clears_at (clears_at)
);

-- Addresses from which an account's password was given: what others fail at cannot keep its owner out there.
CREATE TABLE IF NOT EXISTS known_addresses (
    key_hash BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of purpose, kind, claim and address',
    seen_at  DATETIME(6) NOT NULL COMMENT 'UTC',
    PRIMARY KEY (key_hash),
    KEY by_seen_at (seen_at)
);

-- What callers have spent of their budgets. A row that is full says nothing and is swept.
CREATE TABLE IF NOT EXISTS budgets (
    key_hash BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the purpose and the caller',
    full_at  DATETIME(6) NOT NULL COMMENT 'UTC: when the budget is full again; at most an hour from now',
    PRIMARY KEY (key_hash),
    KEY by_full_at (full_at)
);

-- Invitations and solved challenges that were used: each works once. See auth/single_use.py.
CREATE TABLE IF NOT EXISTS used_tokens (
    id         BINARY(16)  NOT NULL COMMENT 'random',
    expires_at DATETIME(6) NOT NULL COMMENT 'UTC: the token is not valid any more, so the row is swept',
    PRIMARY KEY (id),
    KEY by_expires_at (expires_at)
);
