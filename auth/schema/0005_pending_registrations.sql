-- Registrations that wait for their email to be confirmed. See auth/pending_registrations.py.
CREATE TABLE IF NOT EXISTS pending_registrations (
    id         BINARY(16)  NOT NULL COMMENT 'the cause of the mail in the outbox',
    token_mac  BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the token of its link',
    sealed     MEDIUMBLOB  NOT NULL COMMENT 'the registration, sealed with a key of the log; empty once confirmed',
    expires_at DATETIME(6) NOT NULL COMMENT 'UTC',
    PRIMARY KEY (id),
    UNIQUE KEY by_token (token_mac),
    KEY by_expires_at (expires_at)
);

-- The usernames of those registrations. Each is reserved for one email.
CREATE TABLE IF NOT EXISTS pending_usernames (
    value_hash BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of a form of the username, as in claims',
    email_hash BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the email, as in claims',
    expires_at DATETIME(6) NOT NULL COMMENT 'UTC',
    PRIMARY KEY (value_hash),
    KEY by_expires_at (expires_at)
);
