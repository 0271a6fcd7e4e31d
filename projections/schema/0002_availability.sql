-- What the projectors report, made anew with more columns. Nothing is lost: who is alive reports again within a second.
DROP TABLE IF EXISTS projectors;

CREATE TABLE IF NOT EXISTS projectors (
    view                 VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state                VARCHAR(16)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    position             BIGINT UNSIGNED NOT NULL DEFAULT 0,
    events_per_second    DOUBLE          NOT NULL DEFAULT 0,
    quarantined          INT UNSIGNED    NOT NULL DEFAULT 0 COMMENT 'users that are set aside and not dropped',
    last_error           TEXT            NULL,
    error_number         INT             NULL COMMENT 'what the driver numbers that error with',
    process              VARCHAR(255)    NOT NULL DEFAULT '' COMMENT 'host and process id of the active projector',
    heartbeat_at         DATETIME(6)     NULL COMMENT 'UTC, by the clock of this server, as all of these',
    progress_at          DATETIME(6)     NULL COMMENT 'when the position last moved',
    rebuild_progress     DOUBLE          NULL COMMENT '0 to 1 while a rebuild runs',
    rebuild_heartbeat_at DATETIME(6)     NULL,
    audit_differences    INT UNSIGNED    NULL COMMENT 'users that differ from the log, by the last audit',
    audit_users          BIGINT UNSIGNED NULL COMMENT 'users that this process has compared so far',
    audited_at           DATETIME(6)     NULL,
    PRIMARY KEY (view)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Projectors that wait for their turn.
CREATE TABLE IF NOT EXISTS projector_standbys (
    view         VARCHAR(32)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    process      VARCHAR(255) NOT NULL,
    heartbeat_at DATETIME(6)  NOT NULL,
    PRIMARY KEY (view, process)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;
