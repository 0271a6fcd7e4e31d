-- The log. Positions are dense (1, 2, 3, ...) and commit-ordered: see events/appender.py for why.
-- data and metadata are JSON kept as text: a JSON column would reorder and reformat what is to be
-- hashed, and costs about a fifth of the append rate.
CREATE TABLE IF NOT EXISTS events (
    position    BIGINT UNSIGNED NOT NULL,
    stream_id   BINARY(16)      NOT NULL COMMENT 'the id of the user or data object, a UUIDv7',
    version     INT UNSIGNED    NOT NULL COMMENT '1, 2, ... within the stream',
    event_id    BINARY(16)      NOT NULL,
    type        VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    data        MEDIUMTEXT      NOT NULL COMMENT 'JSON: role, names of the changed fields',
    personal    MEDIUMBLOB      NOT NULL COMMENT 'sealed with the user''s or owner''s key, bound to the columns before it and to metadata',
    metadata    TEXT            NOT NULL COMMENT 'JSON: actor, correlation, schema',
    recorded_at DATETIME(6)     NOT NULL COMMENT 'UTC',
    owner_id    BINARY(16)      NULL     COMMENT 'of a data object: the user whose key seals the event',
    number      BIGINT UNSIGNED NULL     COMMENT 'of a data object, in its first event: 1, 2, ... in the order of positions',
    hash        BINARY(32)      NOT NULL COMMENT 'HMAC-SHA-256 of this row and of the hash before it',
    PRIMARY KEY (position),
    UNIQUE KEY one_event_per_version (stream_id, version),
    KEY by_owner (owner_id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- One row, locked by every append until its COMMIT.
CREATE TABLE IF NOT EXISTS log_head (
    id       TINYINT UNSIGNED NOT NULL,
    position BIGINT UNSIGNED  NOT NULL COMMENT 'of the newest event; 0 while there is none',
    hash     BINARY(32)       NOT NULL COMMENT 'of the newest event; zeros while there is none',
    log_id   BINARY(16)       NOT NULL COMMENT 'random: tells this log from every other one',
    numbers  BIGINT UNSIGNED  NOT NULL DEFAULT 0 COMMENT 'the number of the newest data object; 0 while there is none',
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
);

INSERT IGNORE INTO log_head (id, position, hash, log_id) VALUES (1, 0, REPEAT(X'00', 32), RANDOM_BYTES(16));

-- Each user's own key, wrapped by the master key. A deletion leaves the proof that it destroyed the key: see
-- events/vault.py.
CREATE TABLE IF NOT EXISTS user_keys (
    user_id        BINARY(16)     NOT NULL,
    wrapped        VARBINARY(128) NULL COMMENT 'NULL once destroyed',
    deletion_proof VARBINARY(64)  NULL COMMENT 'NULL until the key is destroyed',
    master_key_id  BINARY(8)      NULL COMMENT 'of the key that sealed either',
    PRIMARY KEY (user_id),
    KEY by_master_key (master_key_id)
);

-- The key of each living user's password hash, wrapped by the master key. A new hash replaces the row, a deletion
-- deletes it: see events/credentials.py. Without an index by master key, since appends and a rotation would lock it in
-- different orders.
CREATE TABLE IF NOT EXISTS credential_keys (
    user_id       BINARY(16)     NOT NULL,
    version       INT UNSIGNED   NOT NULL COMMENT 'of the event that holds the sealed hash',
    wrapped       VARBINARY(128) NOT NULL,
    master_key_id BINARY(8)      NOT NULL COMMENT 'of the key that sealed it',
    PRIMARY KEY (user_id)
);

-- What only one user may have. Values are keyed hashes, so the table tells nothing about anybody.
CREATE TABLE IF NOT EXISTS claims (
    kind       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'username, email or admin',
    value_hash BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of a form of the value',
    user_id    BINARY(16)  NOT NULL,
    PRIMARY KEY (kind, value_hash),
    KEY by_user (user_id)
);

-- The secret that the log's keys are made from, wrapped like a user's key. It never changes: see events/log_keys.py.
CREATE TABLE IF NOT EXISTS log_secret (
    id            TINYINT UNSIGNED NOT NULL,
    wrapped       VARBINARY(128)   NOT NULL,
    master_key_id BINARY(8)        NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_secret CHECK (id = 1)
);

-- Idempotency keys of commands that took effect. All hashes are keyed: see events/idempotency.py.
CREATE TABLE IF NOT EXISTS requests (
    key_hash    BINARY(32)      NOT NULL COMMENT 'HMAC-SHA-256 of the caller and its key',
    fingerprint BINARY(32)      NOT NULL COMMENT 'HMAC-SHA-256 of the command',
    user_id     BINARY(16)      NOT NULL COMMENT 'the user or data object that it was on',
    position    BIGINT UNSIGNED NOT NULL COMMENT 'of the last event that the command caused',
    made_at     DATETIME(6)     NOT NULL COMMENT 'UTC',
    PRIMARY KEY (key_hash),
    KEY by_made_at (made_at)
);

CREATE TRIGGER IF NOT EXISTS events_refuse_update BEFORE UPDATE ON events FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'events is append-only: UPDATE is refused';

CREATE TRIGGER IF NOT EXISTS events_refuse_delete BEFORE DELETE ON events FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'events is append-only: DELETE is refused';
