"""Devices that users have signed in from, so that a sign-in from a new one causes a mail.

A device is the name that `auth/devices.py` gives a client, such as `Firefox on Linux`. The address is no part of it: a
phone has many, and a mail for each would teach people to ignore them. A device is new if no session of the user was
started from it in the last `KEPT`. Sessions that have ended count too, so the devices have a table of their own, which
holds keyed hashes of their names.

The first device of a new user causes no mail. A user who registered longer ago than `KEPT` and has no known device gets
one: the owner of an unused account would not notice a stranger's sign-in.

**Together with the session.** One packet starts the session, marks its device as seen and queues the mail, in one
transaction. MySQL decides whether the device is new, so nothing is read before. The row of a device is locked until the
COMMIT, and names the session in which it was new: of concurrent sign-ins from one new device, one causes a mail.

**Floods.** A client may name itself anew at each sign-in. So a user gets at most `MAILS_A_DAY` of these mails, and has
at most `DEVICES` rows; the ones that were seen last stay.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from events import sql
from events.database import Database, Row
from events.ids import made_at
from events.outbox import MailPurpose, NewDevice
from events.sql import naive_utc
from events.vault import NONCE_BYTES

KEPT: Final = timedelta(days=90)
"""After which a device that was not seen is new again."""
MAILS_A_DAY: Final = 5
DEVICES: Final = 50
"""Of one user."""
SWEPT_ROWS: Final = 1_000

# The first device of a new user is new in no session.
SEEN: Final = """
INSERT INTO known_devices (user_id, device, seen_at, new_in, new_at)
SELECT {user}, {device}, {now},
    IF({long_registered} OR EXISTS (SELECT 1 FROM known_devices WHERE user_id = {user}), {session}, NULL), {now}
ON DUPLICATE KEY UPDATE
    new_in = IF(known_devices.seen_at < {forgotten}, {session}, known_devices.new_in),
    new_at = IF(known_devices.seen_at < {forgotten}, {now}, known_devices.new_at),
    seen_at = {now}
"""
MAIL: Final = """
INSERT INTO outbox (cause, purpose, user_id, language, sealed, created_at, next_attempt_at)
SELECT {session}, {purpose}, {user}, {language}, {sealed}, {now}, {now} FROM known_devices
WHERE user_id = {user} AND device = {device} AND new_in = {session} AND (
    SELECT COUNT(*) FROM known_devices WHERE user_id = {user} AND new_in IS NOT NULL AND new_at > {day_ago}
) <= {mails_a_day}
"""
SURPLUS: Final = """
SELECT device FROM known_devices WHERE user_id = {user} ORDER BY seen_at DESC, device LIMIT {swept} OFFSET {devices}
"""
FORGET_SOME: Final = "DELETE FROM known_devices WHERE user_id = {user} AND device IN ({devices})"
FORGET: Final = "DELETE FROM known_devices WHERE user_id = %s"
SWEEP: Final = "DELETE FROM known_devices WHERE seen_at < %s LIMIT %s"


class KnownDevices:
    """Makes the statements that keep devices, for the packet that starts a session."""

    def __init__(self, secret: bytes, mail_key: bytes, random: Callable[[int], bytes]) -> None:
        """
        Args:
            secret: Keys the hashes of devices, the same on every process.
            mail_key: Seals what a mail says until it is sent.
            random: Makes random bytes.
        """
        self._secret = secret
        self._mail_key = mail_key
        self._random = random

    def seen(
        self, user_id: UUID, session_id: UUID, device: str, address: str, language: str | None, now: datetime
    ) -> list[str]:
        """Mark the device of a new session as seen, and queue the mail if it is new."""
        news = NewDevice(device, address, now)
        values = {
            "user": sql.binary(user_id.bytes),
            "device": sql.binary(self._digest(user_id, device)),
            "session": sql.binary(session_id.bytes),
            "now": _instant(now),
            "forgotten": _instant(now - KEPT),
            "day_ago": _instant(now - timedelta(days=1)),
            "long_registered": sql.integer(int(_is_long_registered(user_id, now))),
            "purpose": sql.text(MailPurpose.NEW_DEVICE.value),
            "language": "NULL" if language is None else sql.text(language),
            "sealed": sql.binary(news.seal(self._mail_key, session_id, self._random(NONCE_BYTES))),
            "mails_a_day": sql.integer(MAILS_A_DAY),
        }
        return [SEEN.format_map(values), MAIL.format_map(values)]

    def surplus(self, user_id: UUID) -> str:
        """Find the devices that a user has too many of."""
        user, swept, devices = sql.binary(user_id.bytes), sql.integer(SWEPT_ROWS), sql.integer(DEVICES)
        return SURPLUS.format(user=user, swept=swept, devices=devices)

    def forget_surplus(self, user_id: UUID, rows: list[Row]) -> str:
        """Forget the devices that `surplus` has found."""
        return FORGET_SOME.format(user=sql.binary(user_id.bytes), devices=sql.binaries(row[0] for row in rows))

    def _digest(self, user_id: UUID, device: str) -> bytes:
        return hmac.digest(self._secret, b"rollcall device v1" + user_id.bytes + device.encode(), hashlib.sha256)


async def forget(database: Database, user_id: UUID) -> None:
    """Forget the devices of a user who was deleted."""
    await database.execute(FORGET, (user_id.bytes,))


async def sweep(database: Database, now: datetime) -> int:
    """Forget devices that were not seen for long; return how many."""
    return await database.sweep(SWEEP, (naive_utc(now - KEPT), SWEPT_ROWS))


def _is_long_registered(user_id: UUID, now: datetime) -> bool:
    """Whether the user registered longer ago than `KEPT`, by its id. Another system made an id that has no instant."""
    registered_at = made_at(user_id)
    return registered_at is None or registered_at < now - KEPT


def _instant(moment: datetime) -> str:
    return sql.instant(moment.astimezone(UTC))
