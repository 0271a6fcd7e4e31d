-- Who is signed in. A session that has ended is not there any more. Nothing here says more about a person than the
-- user's id, which the log keeps anyway.
CREATE TABLE IF NOT EXISTS sessions (
    id         BINARY(16)   NOT NULL COMMENT 'a UUIDv7: sid of its access tokens',
    user_id    BINARY(16)   NOT NULL,
    since      INT UNSIGNED NOT NULL COMMENT 'version of the user that it trusts: see auth/sessions.py',
    expires_at DATETIME(6)  NOT NULL COMMENT 'UTC: when it ends if it is not refreshed',
    ends_at    DATETIME(6)  NOT NULL COMMENT 'UTC: when it ends in any case',
    PRIMARY KEY (id),
    KEY by_user (user_id),
    KEY by_expires_at (expires_at)
);

-- Every refresh token that a session has had, so that a second use of any of them is noticed.
CREATE TABLE IF NOT EXISTS refresh_tokens (
    token_hash BINARY(32)  NOT NULL COMMENT 'SHA-256 of the token''s 256 random bits',
    session_id BINARY(16)  NOT NULL,
    used_at    DATETIME(6) NULL COMMENT 'UTC; NULL for the one in force',
    salt       BINARY(32)  NULL COMMENT 'makes the next token out of this one: see auth/sessions.py',
    PRIMARY KEY (token_hash),
    KEY by_session (session_id),
    CONSTRAINT of_session FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
);
