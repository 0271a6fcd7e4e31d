-- The newest snapshot of each user whose stream is long or large: see events/snapshots.py. A row can be deleted at any
-- time; the log is then read from the user's first event.
CREATE TABLE IF NOT EXISTS snapshots (
    owner_id       BINARY(16)      NOT NULL COMMENT 'the id of the user',
    up_to_version  INT UNSIGNED    NOT NULL COMMENT 'of the last event in it',
    up_to_position BIGINT UNSIGNED NOT NULL COMMENT 'of the last event in it',
    sealed         MEDIUMBLOB      NOT NULL COMMENT 'sealed with the user''s key: what deletion destroys',
    PRIMARY KEY (owner_id)
);
