"""Several MySQL hosts under one address: which of them is the primary, now and after a failover.

Only one host may accept writes for a log. A host qualifies if it is not read-only and, where Group Replication is
configured, if it is ONLINE and PRIMARY in its group and reaches a majority of it. The last condition matters when a
primary is cut off from its group: until it notices, it still calls itself the primary. If two hosts qualify, neither
is used: a restored or badly configured server must not receive a part of the log.

`PrimaryWatch` asks the primary every second whether it still is the primary. If not, it asks all hosts. Each change is
passed on before anybody may use the new host, so that no session on the old one survives: its locks mean nothing any
more, and it may answer with old rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import random
from typing import Final

import structlog

from events.errors import DatabaseRefused, DatabaseUnavailable, EventsError
from events.retry import Backoff

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
"""Time between two questions to the primary."""
PROBE_SECONDS: Final = 3.0
"""Time that a host has for its answer, connecting included."""
LONGEST_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Host:
    """One MySQL server."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Member:
    """One row of `replication_group_members`."""

    id: str
    state: str
    role: str


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host says about itself."""

    server_id: str
    read_only: bool
    offline: bool
    grouped: bool
    """Whether Group Replication is configured, running or not."""
    members: Sequence[Member] = ()

    def obstacle(self) -> str | None:
        """Why this host is not the primary; None if it is."""
        if self.offline:
            return "it is in offline mode"
        if self.grouped and (obstacle := self._obstacle_in_group()):
            return obstacle
        return "it is read-only" if self.read_only else None

    def _obstacle_in_group(self) -> str | None:
        own = next((member for member in self.members if member.id == self.server_id), None)
        if own is None or own.state != "ONLINE":
            return f"it is {own.state if own else 'not'} in its group"
        if own.role != "PRIMARY":
            return f"it is {own.role} in its group"
        reached = sum(member.state != "UNREACHABLE" for member in self.members)
        if 2 * reached <= len(self.members):
            return f"it reaches {reached} of the {len(self.members)} members of its group"
        return None


Found = Mapping[Host, HostState | Exception]
"""The state of each host, or why it did not answer."""


class NoPrimary(DatabaseUnavailable):
    """Raised when none of the hosts is the primary, or more than one claims to be."""


def choose_primary(found: Found) -> Host:
    """The one primary among the hosts.

    Raises:
        NoPrimary: there is none, or more than one.
        DatabaseRefused: there is none, and a host refuses access: a retry does not help.
    """
    grouped = any(isinstance(state, HostState) and state.grouped for state in found.values())
    obstacles: dict[Host, str] = {}
    for host, state in found.items():
        if not isinstance(state, HostState):
            obstacles[host] = str(state)
        elif obstacle := state.obstacle():
            obstacles[host] = obstacle
        elif grouped and not state.grouped:
            obstacles[host] = "it has no Group Replication, which other hosts have"
    primaries = [host for host in found if host not in obstacles]
    if len(primaries) == 1:
        return primaries[0]
    if primaries:
        raise NoPrimary(f"{' and '.join(map(str, primaries))} both accept writes; only one MySQL server may")
    for state in found.values():
        if isinstance(state, DatabaseRefused):
            raise state
    raise NoPrimary(
        "no MySQL host accepts writes: " + "; ".join(f"{host}: {obstacle}" for host, obstacle in obstacles.items())
    )


Ask = Callable[[Host], Awaitable[HostState]]
"""Asks a host for its state; raises an error if it cannot be had."""


class PrimaryWatch:
    """Knows the primary of several hosts and follows it, from the first use until `close`."""

    def __init__(self, hosts: Sequence[Host], ask: Ask, moved: Callable[[Host | None], None]) -> None:
        """
        Args:
            hosts: All hosts.
            ask: Asks one of them.
            moved: Called with the new primary before `primary` returns it; with None when there is none.
        """
        self._hosts = hosts
        self._ask = ask
        self._moved = moved
        self._primary: Host | None = None
        self._error: EventsError | None = None
        self._news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def primary(self) -> Host:
        """The primary. Waits while there is none.

        Raises:
            DatabaseRefused: there is none, and a host refuses access.
        """
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        while self._primary is None:
            if isinstance(self._error, DatabaseRefused):
                raise self._error
            await self._news.wait()
        return self._primary

    @property
    def trouble(self) -> str:
        """Why there is no primary, as far as it is known."""
        return str(self._error) if self._error else f"no answer from {', '.join(map(str, self._hosts))}"

    async def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def _watch(self) -> None:
        backoff = Backoff(longest=LONGEST_PAUSE_SECONDS, jitter=lambda: 0.5 + random() / 2)  # noqa: S311 - a pause
        while True:
            try:
                primary = choose_primary(await self._ask_all())
            except (NoPrimary, DatabaseRefused) as error:
                pause = backoff.next()
                self._lost(error, pause)
                await asyncio.sleep(pause)
                continue
            backoff.reset()
            self._found(primary)
            await self._until_doubtful(primary)

    async def _until_doubtful(self, primary: Host) -> None:
        """Ask the primary until it does not say that it is the primary."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            state = await self._answer(primary)
            if not isinstance(state, HostState) or state.obstacle():
                return

    def _found(self, primary: Host) -> None:
        if primary != self._primary:
            log.info("mysql.primary_found", host=str(primary))
            self._moved(primary)
        self._primary, self._error = primary, None
        self._announce()

    def _lost(self, error: EventsError, pause: float) -> None:
        if self._primary is not None or str(error) != str(self._error):
            log.warning("mysql.primary_missing", error=str(error), retry_in=round(pause, 3))
        if self._primary is not None:
            self._moved(None)
        self._primary, self._error = None, error
        self._announce()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _ask_all(self) -> Found:
        """The answer of each host. Those that are quick do not wait for one that is silent: see `PROBE_SECONDS`."""
        answers = await asyncio.gather(*map(self._answer, self._hosts))
        return dict(zip(self._hosts, answers, strict=True))

    async def _answer(self, host: Host) -> HostState | Exception:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self._ask(host)
        except TimeoutError:
            return DatabaseUnavailable(f"no answer within {PROBE_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a host says, the others are asked too
            return error
