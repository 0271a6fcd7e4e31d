-- Devices that users have signed in from lately: a sign-in from another one causes a mail. See auth/known_devices.py.
CREATE TABLE IF NOT EXISTS known_devices (
    user_id BINARY(16)  NOT NULL,
    device  BINARY(32)  NOT NULL COMMENT 'HMAC-SHA-256 of the user and the name of the device',
    seen_at DATETIME(6) NOT NULL COMMENT 'UTC: the last sign-in from it',
    new_in  BINARY(16)  NULL COMMENT 'the session in which it was new; NULL for the first devices of a user',
    new_at  DATETIME(6) NOT NULL COMMENT 'UTC: when that session was started',
    PRIMARY KEY (user_id, device),
    KEY by_seen_at (seen_at)
);
