-- Sessions, one row each. A session that has ended has no row. What says more about a person than the user's id, which
-- the log keeps anyway, is sealed.
CREATE TABLE IF NOT EXISTS sessions (
    id          BINARY(16)    NOT NULL COMMENT 'a UUIDv7: sid of its access tokens',
    user_id     BINARY(16)    NOT NULL,
    since       INT UNSIGNED  NOT NULL COMMENT 'version of the user that it trusts: see auth/sessions.py',
    generation  INT UNSIGNED  NOT NULL COMMENT 'of the refresh token in force: how often it was replaced',
    used_at     DATETIME(6)   NOT NULL COMMENT 'UTC: when it was started or last refreshed',
    expires_at  DATETIME(6)   NOT NULL COMMENT 'UTC: when it ends if it is not refreshed',
    ends_at     DATETIME(6)   NOT NULL COMMENT 'UTC: when it ends in any case',
    replaced_at VARBINARY(72) NOT NULL COMMENT 'when its last generations were replaced: microseconds, 8 bytes each',
    started_at  DATETIME(6)   NOT NULL COMMENT 'UTC',
    client      VARBINARY(255) NOT NULL COMMENT 'sealed (AES-SIV): the device that it was started from, and its last address',
    mac         BINARY(32)    NOT NULL COMMENT 'HMAC-SHA-256 of all other columns: without it there is no session',
    PRIMARY KEY (id),
    KEY by_user (user_id, used_at),
    KEY by_expires_at (expires_at)
);
