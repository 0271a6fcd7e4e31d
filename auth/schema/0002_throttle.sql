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
