-- Links that were mailed. A token is not here: only its MAC, and a MAC of what must still be so for the link to work.
CREATE TABLE IF NOT EXISTS mailed_links (
    token_mac  BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the token',
    purpose    VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id    BINARY(16)  NOT NULL,
    expires_at DATETIME(6) NOT NULL COMMENT 'UTC',
    used_at    DATETIME(6) NULL COMMENT 'UTC',
    bound      BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of purpose, user, expiry, email and password version',
    sealed     VARBINARY(2048) NULL COMMENT 'the email that the link gives to the user, sealed with a key of the log',
    PRIMARY KEY (token_mac),
    KEY by_expires_at (expires_at)
);
