-- Rebuilds that were asked for through the API, and what became of them. A row stays: it says who asked.
CREATE TABLE IF NOT EXISTS rebuild_requests (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    view         VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    asked_by     BINARY(16)      NOT NULL COMMENT 'a user id',
    correlation  BINARY(16)      NOT NULL COMMENT 'of the request, as in the log lines',
    key_hash     BINARY(32)      NULL COMMENT 'of the idempotencyKey',
    asked_at     DATETIME(6)     NOT NULL COMMENT 'UTC, by the clock of this server, as all of these',
    process      VARCHAR(255)    NULL COMMENT 'host and process id of who sees to it',
    attended_at  DATETIME(6)     NULL COMMENT 'when that process was last heard',
    ended_at     DATETIME(6)     NULL,
    failure      TEXT            NULL COMMENT 'why it ended without a rebuilt view',
    settled_at   DATETIME(6)     NULL COMMENT 'when the view was rebuilt, by this request or after it had failed',
    waiting_view VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin AS (IF(ended_at IS NULL, view, NULL)) STORED
                 COMMENT 'one request of a view at a time',
    PRIMARY KEY (id),
    UNIQUE KEY waiting (waiting_view),
    UNIQUE KEY sent_again (asked_by, key_hash),
    KEY by_view (view, settled_at)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
