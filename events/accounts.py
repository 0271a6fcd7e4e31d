"""Accounts that are asked for again and again, such as of whoever sends a request: folded once, until they change.

Each time the log is asked what the user's last event is, which is one row by an index. Its hash covers every event
before it, so an account that was folded up to this very event is what the log says now. Nothing is believed for any
length of time.

What is remembered is personal, so it is dropped within a minute or two of the last use, by whoever asks next.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from events.user import Account

LAST_HASH: Final = "SELECT hash FROM events WHERE stream_id = %s ORDER BY version DESC LIMIT 1"
"""What to ask the log for; no row, if there never was such a user."""
REMEMBERED: Final = 1_000
"""At most twice as many, each of up to 64 KiB of attributes."""
SECONDS: Final = 60.0


class Accounts:
    """The accounts that were asked for lately. `read` reads one from the log."""

    def __init__(self, read: Callable[[UUID], Awaitable[Account]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._younger: dict[bytes, Account] = {}
        self._older: dict[bytes, Account] = {}
        self._turned_at = clock()

    async def at(self, user_id: UUID, last_hash: bytes | None) -> Account:
        """The account of a user whose last event has this hash, or had a moment ago; an empty one without any."""
        if last_hash is None:
            return Account()
        self._turn()
        found = self._younger.get(last_hash) or self._older.get(last_hash)
        account = found or await self._read(user_id)
        self._younger[last_hash] = account
        return account

    def _turn(self) -> None:
        """Forget what was not asked for since the last turn."""
        now = self._clock()
        if now - self._turned_at >= SECONDS or len(self._younger) >= REMEMBERED:
            self._older = self._younger if now - self._turned_at < 2 * SECONDS else {}
            self._younger, self._turned_at = {}, now
