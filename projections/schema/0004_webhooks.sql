-- Endpoints that changes of users are sent to, and how far each has come. See projections/webhooks/endpoints.py.
CREATE TABLE IF NOT EXISTS webhooks (
    id              BINARY(16)      NOT NULL COMMENT 'a UUIDv7',
    generation      INT UNSIGNED    NOT NULL COMMENT 'counts the changes of this row by administrators',
    sealed          BLOB            NOT NULL COMMENT 'URL, filters and secrets, bound to the id and the generation',
    enabled         BOOLEAN         NOT NULL,
    disabled_reason VARCHAR(255)    NULL,
    log_id          BINARY(16)      NOT NULL COMMENT 'checkpoint: every wanted event up to it is queued',
    position        BIGINT UNSIGNED NOT NULL,
    hash            BINARY(32)      NOT NULL,
    created_at      DATETIME(6)     NOT NULL COMMENT 'UTC, as all of these',
    PRIMARY KEY (id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- What is queued for an endpoint or was sent to it. No content: that is read from the log for each attempt.
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    webhook_id      BINARY(16)        NOT NULL,
    position        BIGINT UNSIGNED   NOT NULL COMMENT 'of the event',
    state           VARCHAR(16)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'pending, delivered or dead',
    attempts        INT UNSIGNED      NOT NULL,
    status          SMALLINT UNSIGNED NULL COMMENT 'of the last answer',
    duration_ms     DOUBLE            NULL COMMENT 'of the last attempt',
    error           VARCHAR(255)      NULL COMMENT 'why the last attempt failed',
    delivered_at    DATETIME(6)       NULL,
    next_attempt_at DATETIME(6)       NULL COMMENT 'NULL unless pending',
    ended_at        DATETIME(6)       NULL COMMENT 'NULL while pending; old rows are removed',
    PRIMARY KEY (webhook_id, position),
    KEY by_state (webhook_id, state, position),
    KEY by_ended_at (ended_at)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
