-- Mails that wait to be sent, one row each. No address is here in clear: a mail is made when it is sent, from the user as
-- the log has it. See events/outbox.py.
CREATE TABLE IF NOT EXISTS outbox (
    cause           BINARY(16)       NOT NULL COMMENT 'id of the event, request or session that the mail is about',
    purpose         VARCHAR(32)      CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id         BINARY(16)       NULL COMMENT 'the user; NULL: the one who has the claim, if there is one',
    claim_kind      VARCHAR(16)      CHARACTER SET ascii COLLATE ascii_bin NULL,
    claim_hash      BINARY(32)       NULL,
    position        BIGINT UNSIGNED  NULL COMMENT 'of the event; NULL for a request',
    language        VARCHAR(8)       CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'of the request',
    sealed          VARBINARY(2048)  NULL COMMENT 'of a deletion: where the mail goes; of a new device: which one; sealed with a key of the log',
    created_at      DATETIME(6)      NOT NULL COMMENT 'UTC',
    attempts        INT UNSIGNED     NOT NULL DEFAULT 0,
    next_attempt_at DATETIME(6)      NOT NULL COMMENT 'UTC',
    PRIMARY KEY (cause, purpose),
    KEY by_next_attempt (next_attempt_at)
);
