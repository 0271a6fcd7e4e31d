-- Numbers for the statistics. See auth/activity.py.

-- Sign-ins by day. A day has several rows, so that concurrent sign-ins do not wait for one row's lock.
CREATE TABLE IF NOT EXISTS sign_in_counts (
    day       DATE             NOT NULL COMMENT 'UTC',
    shard     TINYINT UNSIGNED NOT NULL COMMENT 'random: the sum of all is the count',
    succeeded BIGINT UNSIGNED  NOT NULL DEFAULT 0,
    failed    BIGINT UNSIGNED  NOT NULL DEFAULT 0,
    PRIMARY KEY (day, shard)
);

-- The users who signed in or refreshed a session in a week. Deleted with the user.
CREATE TABLE IF NOT EXISTS active_users (
    week    DATE             NOT NULL COMMENT 'its Monday, UTC',
    user_id BINARY(16)       NOT NULL,
    days    TINYINT UNSIGNED NOT NULL COMMENT 'bit n: active n days after Monday',
    PRIMARY KEY (week, user_id),
    KEY by_user (user_id)
);
