-- How far the follower that sends mails has read the log: one row, made when mail is first set up.
CREATE TABLE IF NOT EXISTS mail_checkpoint (
    id       TINYINT UNSIGNED NOT NULL,
    log_id   BINARY(16)       NOT NULL,
    position BIGINT UNSIGNED  NOT NULL,
    hash     BINARY(32)       NOT NULL COMMENT 'of the event at the position',
    PRIMARY KEY (id),
    CONSTRAINT one_mail_checkpoint CHECK (id = 1)
);
