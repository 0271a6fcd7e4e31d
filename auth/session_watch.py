"""Closes connections whose session has ended. One watch serves all connections of a process.

A request is authenticated once, but a WebSocket stays open for hours. Four times a second the watch closes connections

- whose access token has expired, by the clock;
- whose session's row is gone: one statement looks up the sessions of all connections;
- whose session an event has ended (a new password, another role, deletion): the watch reads the log for events of these
  types, and the accounts of those users that have a connection here.

A connection joins the watch first and is authenticated afterwards, so nothing is missed: what was committed before the
authentication is found by it, and what comes later by the next round.

The trouble of one user is that user's: if the events of a user cannot be read, whether a session of that user has ended
is not known, so the watch closes that user's connections and goes on.

While MySQL is away, only expiry is noticed. If the log changes, because it lost its tail or another one took its place,
events may be missing that ended a session. So the watch closes all connections with a session; their clients connect
again and are authenticated against the log as it is now.
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
from events.checkpoint import Checkpoint
from events.commands import UserCommands
from events.errors import DatabaseUnavailable, EventsError, LogChanged
from events.event_types import PasswordChanged, RoleChanged, UserDeleted
from events.store import EventStore

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.25
CONNECTIONS_PER_CALLER: Final = 100
"""Open at the same time on one process, of a user or of the address of anonymous clients."""
SESSIONS_PER_STATEMENT: Final = 1_000
ENDED: Final = "the session has ended"
LOG_CHANGED: Final = "the log has changed; connect again"
ENDING: Final = frozenset({PasswordChanged.__name__, RoleChanged.__name__, UserDeleted.__name__})
"""Types of events that end a user's sessions."""

Close = Callable[[str], Coroutine[None, None, None]]
"""Closes a connection for a reason, within a second or so, and never raises."""


class TooManyConnections(Exception):
    """The caller has as many connections to this process as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} connections at once")


@dataclass(frozen=True, slots=True, eq=False)
class OpenConnection:
    """A WebSocket or event stream."""

    caller: UUID | str
    """The user, or the address of an anonymous client."""
    claims: TokenClaims | None
    close: Close


class SessionWatch:
    """The open connections of this process."""

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
        """Watch a connection. Its session is to be checked afterwards.

        Raises:
            TooManyConnections: the caller has too many of them already.
        """
        watched = OpenConnection(claims.user_id if claims else address, claims, close)
        if len(self._open.get(watched.caller, ())) >= self._connections:
            raise TooManyConnections(self._connections)
        self._open[watched.caller].add(watched)
        return watched

    def leave(self, watched: OpenConnection) -> None:
        """Stop watching a connection, which is closed. May be called again."""
        others = self._open[watched.caller]
        others.discard(watched)
        if not others:
            del self._open[watched.caller]

    async def run(self) -> None:
        """Watch until cancelled."""
        reached: Checkpoint | None = None
        while True:
            now = self._clock()
            expired = [watched for watched, claims in self._signed_in() if now >= claims.expires_at]
            self._close(expired, "the access token has expired")
            try:
                reached = await self._close_ended(reached)
            except LogChanged as error:
                log.warning("watch.log_changed", position=error.position, reason=error.reason)
                self._close([watched for watched, _ in self._signed_in()], LOG_CHANGED)
                reached = None
            except EventsError as error:
                log.warning("watch.waiting", error=str(error), retry_in=POLL_SECONDS)
            await asyncio.sleep(POLL_SECONDS)

    async def _close_ended(self, reached: Checkpoint | None) -> Checkpoint:
        """Close connections whose sessions have ended; return the place that the log was read to.

        Raises:
            LogChanged: the log does not hold the place that was reached.
        """
        end, ended = await self._store.streams_with(ENDING, after=reached)
        for user_id in ended & self._open.keys():
            try:
                account = await self._commands.account(user_id)
            except DatabaseUnavailable:
                raise
            except EventsError as error:
                log.error("watch.unreadable", user=str(user_id), error=str(error))  # noqa: TRY400 - the cause is in it
                self._close([watched for watched, claims in self._signed_in() if claims.user_id == user_id], ENDED)
                continue
            for watched, claims in self._signed_in():
                if claims.user_id == user_id:
                    session = await self._sessions.find(claims.session_id, claims.user_id)
                    if session is None or not session.counts_for(account, self._clock()):
                        self._close([watched], ENDED)
        asked = {claims.session_id for _, claims in self._signed_in()}
        ids, gone = iter(asked), set(asked)
        while some := list(islice(ids, SESSIONS_PER_STATEMENT)):
            gone -= await self._sessions.live(some)
        self._close([watched for watched, claims in self._signed_in() if claims.session_id in gone], ENDED)
        return end

    def _signed_in(self) -> list[tuple[OpenConnection, TokenClaims]]:
        return [(watched, watched.claims) for open_ in self._open.values() for watched in open_ if watched.claims]

    def _close(self, ended: Iterable[OpenConnection], reason: str) -> None:
        for watched in ended:
            self.leave(watched)
            closing = asyncio.create_task(watched.close(reason))  # a slow one delays no other
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
