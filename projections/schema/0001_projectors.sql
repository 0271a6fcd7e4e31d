-- What the projectors report of themselves, for status and for people. Never read by the projectors: where a
-- view stands is in its own checkpoint, which lives with the view.
CREATE TABLE IF NOT EXISTS projectors (
    view                 VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state                VARCHAR(16)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    position             BIGINT UNSIGNED NOT NULL DEFAULT 0,
    events_per_second    DOUBLE          NOT NULL DEFAULT 0,
    last_error           TEXT            NULL,
    process              VARCHAR(255)    NOT NULL DEFAULT '' COMMENT 'host and process id',
    heartbeat_at         DATETIME(6)     NULL COMMENT 'UTC, by the clock of this server',
    rebuild_progress     DOUBLE          NULL COMMENT '0 to 1 while a rebuild runs',
    rebuild_heartbeat_at DATETIME(6)     NULL,
    PRIMARY KEY (view)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
