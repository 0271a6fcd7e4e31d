-- How many users were active in each week that is over, so that its rows of `active_users` are counted once. No row says
-- anything about a person. See auth/activity.py.
CREATE TABLE IF NOT EXISTS active_weeks (
    week  DATE         NOT NULL COMMENT 'its Monday, UTC',
    kind  VARCHAR(8)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'day or cohort: what the date is',
    date  DATE         NOT NULL COMMENT 'a day of the week, or the Monday of the week of a registration',
    users INT UNSIGNED NOT NULL,
    PRIMARY KEY (week, kind, date)
);
