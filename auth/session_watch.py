"""Closes what is open for somebody who is no longer signed in: one watcher a process, whatever the number of sockets.

A request is judged when it comes; a socket stays open for hours. So from the moment that a socket says whose it is,
it is watched here, until it closes. A few times a second the watcher looks for three things:

- its access token has expired: by the clock;
- its session has ended: the row is gone. One statement asks for all the sessions that have a socket here;
- the log ended the user's sessions, by a new password, another role or the user's end. The watcher follows the log for
  events of those types, and reads again the users among them that have a socket here.

Nothing falls between the check at a socket's beginning and the watching: it is watched first and checked then. What was
committed before the check, the check finds; what comes after it, the next look does.

While MySQL is away only expiry can be seen. Who was signed in stays so for that time, as everybody waits for it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from auth.sessions import Sessions
from auth.tokens import TokenClaims
from events.commands import UserCommands
from events.errors import EventsError
from events.event_types import PasswordChanged, RoleChanged, UserDeleted
from events.store import EventStore

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.25
CONNECTIONS_PER_CALLER: Final = 100
"""Open at the same time, on one process: of a user, or of an address for those who are nobody."""
SESSIONS_PER_STATEMENT: Final = 1_000
ENDED: Final = "the session has ended"
ENDING: Final = frozenset({PasswordChanged.__name__, RoleChanged.__name__, UserDeleted.__name__})
"""Types of events that can end a user's sessions."""

Close = Callable[[str], Coroutine[None, None, None]]
"""Closes a connection for a reason, within a second or so, and never fails."""


class TooManyConnections(Exception):
    """The caller has as many connections to this process as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} connections at once")


@dataclass(frozen=True, slots=True, eq=False)
class OpenConnection:
    """One open connection."""

    caller: UUID | str
    """The user, or the address of nobody in particular."""
    claims: TokenClaims | None
    close: Close


class SessionWatch:
    """The connections that are open on this process."""

    def __init__(
        self,
        sessions: Sessions,
        commands: UserCommands,
        store: EventStore,
        clock: Callable[[], datetime],
        *,
        connections: int = CONNECTIONS_PER_CALLER,
    ) -> None:
        self._sessions = sessions
        self._commands = commands
        self._store = store
        self._clock = clock
        self._connections = connections
        self._open: dict[UUID | str, set[OpenConnection]] = defaultdict(set)
        self._closing: set[asyncio.Task[None]] = set()

    def join(self, claims: TokenClaims | None, address: str, close: Close) -> OpenConnection:
        """Watch a connection, before its session is checked.

        Raises:
            TooManyConnections: the caller has too many of them already.
        """
        watched = OpenConnection(claims.user_id if claims else address, claims, close)
        if len(self._open.get(watched.caller, ())) >= self._connections:
            raise TooManyConnections(self._connections)
        self._open[watched.caller].add(watched)
        return watched

    def leave(self, watched: OpenConnection) -> None:
        """The connection is closed. May be said again."""
        others = self._open[watched.caller]
        others.discard(watched)
        if not others:
            del self._open[watched.caller]

    async def run(self) -> None:
        """Watch until cancelled."""
        position: int | None = None
        while True:
            self._close(self._expired(), "the access token has expired")
            try:
                position = await self._look(position)
            except EventsError as error:
                log.warning("watch.waiting", error=str(error), retry_in=LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, position: int | None) -> int:
        """Close what has to be closed; how far the log has been looked at."""
        position, ended = await self._store.streams_with(ENDING, after=position)
        for user_id in ended & self._open.keys():
            await self._check(user_id)
        self._close(await self._without_session(), ENDED)
        return position

    async def _check(self, user_id: UUID) -> None:
        """Close the user's connections whose sessions the log has ended."""
        account = await self._commands.account(user_id)
        for watched, claims in self._signed_in():
            if claims.user_id == user_id:
                session = await self._sessions.find(claims.session_id)
                if session is None or not session.counts_for(account, self._clock()):
                    self._close([watched], ENDED)

    async def _without_session(self) -> list[OpenConnection]:
        asked = {claims.session_id for _, claims in self._signed_in()}
        ids, gone = iter(asked), set(asked)
        while some := list(islice(ids, SESSIONS_PER_STATEMENT)):
            gone -= await self._sessions.live(some)
        return [watched for watched, claims in self._signed_in() if claims.session_id in gone]

    def _expired(self) -> list[OpenConnection]:
        now = self._clock()
        return [watched for watched, claims in self._signed_in() if now >= claims.expires_at]

    def _signed_in(self) -> list[tuple[OpenConnection, TokenClaims]]:
        return [(watched, watched.claims) for open_ in self._open.values() for watched in open_ if watched.claims]

    def _close(self, ended: Iterable[OpenConnection], reason: str) -> None:
        for watched in ended:
            self.leave(watched)
            closing = asyncio.create_task(watched.close(reason))  # a slow one holds up no other
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
