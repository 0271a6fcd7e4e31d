"""Connections whose client has said nothing yet: bounded per address and in total.

A connection costs its client a packet and the server memory and a file descriptor. One that has sent its request, or
`connection_init`, is counted by its caller (auth/session_watch.py); one that has not is counted here. A client that
means well speaks as soon as its connection is open. So when there are too many, the oldest is closed to make room for
the newest: refusing the newest would let whoever holds the others lock everybody out.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

Close = Callable[[], Coroutine[None, None, None]]
"""Closes a connection within a second or so, and never raises."""


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """How many WebSockets may wait for their `connection_init`, and for how long."""

    per_address: int = 500
    """A proxy that is not listed as such, or a company, may connect all its clients again at once."""
    in_total: int = 2_000
    seconds: float = 10.0
    """A client may fetch a token first."""
    crowded_seconds: float = 3.0
    """While there are more than a tenth of either number."""


REQUESTS: Final = PendingLimits(per_address=2_000, seconds=10.0)
"""For connections that have sent no whole request. Behind a proxy all of them have its address."""


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A connection whose client has said nothing yet."""

    address: str
    close: Close


class PendingConnections:
    """The pending connections of this process, oldest first."""

    def __init__(self, limits: PendingLimits) -> None:
        self.limits = limits
        self._all: dict[Pending, None] = {}
        self._of: defaultdict[str, dict[Pending, None]] = defaultdict(dict)
        self._closing: set[asyncio.Task[None]] = set()

    def enter(self, address: str, close: Close) -> Pending:
        """Count a connection. The oldest one of its address, or of all, is closed if there are too many."""
        if len(self._of.get(address, ())) >= self.limits.per_address:
            self._evict(next(iter(self._of[address])))
        elif len(self._all) >= self.limits.in_total:
            self._evict(next(iter(self._all)))
        pending = Pending(address, close)
        self._all[pending] = self._of[address][pending] = None
        return pending

    def leave(self, pending: Pending) -> None:
        """Count a connection no more: its client has spoken, or it is closed. May be called again."""
        self._all.pop(pending, None)
        others = self._of.get(pending.address, {})
        others.pop(pending, None)
        if not others:
            self._of.pop(pending.address, None)

    def crowded(self, address: str) -> bool:
        """Whether so many are pending that they get less time."""
        limits = self.limits
        return len(self._of.get(address, ())) * 10 > limits.per_address or len(self._all) * 10 > limits.in_total

    def _evict(self, oldest: Pending) -> None:
        self.leave(oldest)
        closing = asyncio.get_running_loop().create_task(oldest.close())  # a slow one delays no other
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
