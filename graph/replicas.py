"""Reads from replicas: which server answers an operation's questions to a view.

An operation is answered by one replica that has reached the position that the operation requires: the view's checkpoint
is replicated with the view, so each replica says itself how far it is. Chance decides among those that have it. If none
has it within `GRACE_SECONDS`, the primary answers, through a small pool of its own (`rollcall/replicas.py`).

A replica is passed over while it does not answer, has the view of another log, or is `LAG_SECONDS` behind the primary.
A question that it has not answered when that is found out is asked again elsewhere: questions only read. So a replica
that stops costs an operation `GRACE_SECONDS`, or at most `CHECK_SECONDS + ANSWER_SECONDS` in the middle of a question.
One that only lags costs `GRACE_SECONDS` once: no operation waits for it again until it has the position that it missed.
What it missed is no more than the primary has, since a client may require any position.

All operations of a process share the readings of a checkpoint, so a replica that comes back, or stays away, is asked by
one reading at a time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Generic, TypeVar
from uuid import UUID

import structlog

from events.checkpoint import ANY_LOG, Checkpoint
from events.database import Arguments, Database, Row
from events.errors import DatabaseRefused, DatabaseUnavailable
from graph.freshness import PAUSE_SECONDS, ViewPosition, freshness
from projections.errors import ViewMissing, ViewRefused, ViewUnavailable

log = structlog.get_logger(__name__)

ANSWER_SECONDS: Final = 1.0
"""Time that a replica has to answer with its checkpoint, connecting included."""
CHECK_SECONDS: Final = 1.0
"""Time between two readings of each checkpoint where no operation asks for one."""
GRACE_SECONDS: Final = 0.25
"""Longest time that an operation waits for any replica to have its position."""
LAG_SECONDS: Final = 10.0
"""A replica without a position that the primary had that long ago is passed over by all operations."""
PRIMARY: Final = -1
UNUSABLE: Final = (DatabaseUnavailable, DatabaseRefused, ViewUnavailable, ViewRefused, ViewMissing)

Server = TypeVar("Server")
Answer = TypeVar("Answer")


class ReplicaLost(DatabaseUnavailable):
    """Raised for a question whose replica stopped answering. It is asked again elsewhere."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server of a view does for this process."""

    view: str
    host: str
    """Of a replica; `primary` for the primary."""
    up: bool | None
    """Whether operations may ask it. None for the primary, which is asked when no replica is up."""
    lag_events: int | None
    """Events between it and the primary. None for the primary."""
    answers: int
    """Questions that it has answered."""


class Replica(Generic[Server]):
    """One replica of a view."""

    def __init__(
        self, view: str, host: str, server: Server, read: Callable[[], Awaitable[Checkpoint]], log_id: UUID
    ) -> None:
        """`read` reads the view's checkpoint from this server; `log_id` is the log that the view must be of."""
        self.name = view
        self.host = host
        self.position = ViewPosition(self)
        self.trouble: str | None = None
        """Why no operation may ask it."""
        self.missed = 0
        """The last position that it did not reach within `GRACE_SECONDS`."""
        self.answers = 0
        """Questions that it has answered."""
        self._server = server
        self._read = read
        self._log_id = log_id
        self._away: str | None = None
        self._lag: str | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    async def checkpoint(self) -> Checkpoint:
        """The view's checkpoint on this server.

        Raises:
            ReplicaLost: it did not answer in time, or has the view of another log.
            Exception: whatever it answers instead.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self._read()
            if found.log_id not in (ANY_LOG, self._log_id):
                raise ReplicaLost(f"its view is of the log {found.log_id}, and this is the log {self._log_id}")  # noqa: TRY301
        except TimeoutError as error:
            self._judge(f"no answer within {ANSWER_SECONDS:g} s", self._lag)
            raise ReplicaLost(f"{self.host}: {self._away}") from error
        except Exception as error:
            self._judge(str(error), self._lag)
            raise
        self._judge(None, self._lag)
        return found

    def compare(self, then: int, now: int) -> None:
        """Note whether it lags behind the primary, whose positions `LAG_SECONDS` ago and now are given."""
        here = self.position.position
        lag = f"{now - here} events behind the primary, for more than {LAG_SECONDS:g} s" if here < then else None
        self._judge(self._away, lag)

    async def answer(self, question: Callable[[Server], Awaitable[Answer]]) -> Answer:
        """The answer of this server.

        Raises:
            ReplicaLost: it was found not to answer meanwhile.
            Exception: whatever it answers instead.
        """
        answering = asyncio.ensure_future(question(self._server))
        lost = asyncio.get_running_loop().create_future()
        self._waiting.add(lost)
        try:
            await asyncio.wait((answering, lost), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ReplicaLost(f"{self.host}: {self._away}")
            answer = answering.result()
            self.answers += 1
            return answer
        finally:
            self._waiting.discard(lost)
            if not answering.cancel() and not answering.cancelled():
                answering.exception()  # a caller that was cancelled does not retrieve it

    def _judge(self, away: str | None, lag: str | None) -> None:
        before, self._away, self._lag, self.trouble = self.trouble, away, lag, away or lag
        if before is None and self.trouble is not None:
            log.warning("replica.lost", view=self.name, host=self.host, error=self.trouble)
        elif before is not None and self.trouble is None:
            log.info("replica.back", view=self.name, host=self.host)
        for lost in self._waiting if away else ():
            if not lost.done():
                lost.set_result(None)


class Replicas(Generic[Server]):
    """The servers that have one view: the primary and its replicas."""

    def __init__(
        self, primary: Server, position: ViewPosition, replicas: Sequence[Replica[Server]], chance: Random
    ) -> None:
        """`position` is that of the view on the primary; `chance` spreads the operations over the replicas."""
        self._name = position.name
        self._primary = primary
        self._position = position
        self._replicas = replicas
        self._answers_of_primary = 0
        self._chance = chance
        self._past: deque[int] = deque(maxlen=max(1, round(LAG_SECONDS / CHECK_SECONDS)))
        """The primary's position at the last checks."""

    async def reach(self, wanted: int, until: float) -> int:
        """Choose the server that answers the operation, once it has a position; return its position.

        An operation keeps its server while that can be used: its answers are of one state or of later ones.

        Raises:
            ClientError: PROJECTION_BEHIND; no server has reached the position by then.
            ViewMissing, ViewUnavailable, DatabaseUnavailable: nor can the primary's checkpoint be read.
        """
        number = freshness().servers.get(self._name)
        if number == PRIMARY:
            return await self._position.reach(wanted, until)
        if number is not None:
            replica = self._replicas[number]
            if replica.trouble is None and replica.position.position >= wanted:
                return replica.position.position
            wanted = max(wanted, replica.position.position)
        return await self._settle(set(range(len(self._replicas))), wanted, until)

    async def ask(self, question: Callable[[Server], Awaitable[Answer]]) -> Answer:
        """The answer of the operation's server, or of another one if that fails.

        Raises:
            ClientError, ViewMissing, ViewUnavailable, DatabaseUnavailable: all of them fail.
        """
        operation, others = freshness(), set(range(len(self._replicas)))
        if self._name not in operation.servers:
            await operation.wait(self)
        while (number := operation.servers[self._name]) != PRIMARY:
            replica = self._replicas[number]
            try:
                return await replica.answer(question)
            except UNUSABLE as error:
                log.info("replica.passed_over", view=self._name, host=replica.host, error=str(error))
            others.discard(number)
            if operation.servers[self._name] == number:  # no other question of the operation has moved it
                # The operation may have been answered from this position.
                reached = max(operation.at_least, replica.position.position)
                operation.positions.append(await self._settle(others, reached, operation.deadline()))
        answer = await question(self._primary)
        self._answers_of_primary += 1
        return answer

    def status(self) -> list[ServerStatus]:
        """The primary and its replicas, as of their last readings."""
        now = self._position.position
        return [
            ServerStatus(self._name, "primary", None, None, self._answers_of_primary),
            *(
                ServerStatus(
                    self._name, one.host, one.trouble is None, max(0, now - one.position.position), one.answers
                )
                for one in self._replicas
            ),
        ]

    async def run(self) -> None:
        """Read the checkpoints every `CHECK_SECONDS`, until cancelled."""
        while True:
            positions = [self._position, *(replica.position for replica in self._replicas)]
            await asyncio.wait([position.reading() for position in positions], timeout=CHECK_SECONDS + ANSWER_SECONDS)
            if len(self._past) == self._past.maxlen:
                for replica in self._replicas:
                    replica.compare(self._past[0], self._position.position)
            self._past.append(self._position.position)
            await asyncio.sleep(CHECK_SECONDS)

    async def _settle(self, numbers: set[int], wanted: int, until: float) -> int:
        """Choose the operation's server, among these replicas and the primary; return its position."""
        number = await self._choose(numbers, wanted, until)
        freshness().servers[self._name] = number
        if number == PRIMARY:
            return await self._position.reach(wanted, until)
        return self._replicas[number].position.position

    async def _choose(self, numbers: set[int], wanted: int, until: float) -> int:
        """The number of a replica that has the position, or PRIMARY."""
        loop, order = asyncio.get_running_loop(), self._chance.sample(sorted(numbers), len(numbers))
        patience = min(until, loop.time() + GRACE_SECONDS)
        while candidates := [number for number in order if _may_have(self._replicas[number], wanted)]:
            for number in candidates:
                if self._replicas[number].position.has(wanted):
                    return number
            if (left := patience - loop.time()) <= 0:
                for number in candidates:
                    self._replicas[number].missed = min(wanted, self._position.position)
                break
            readings = [self._replicas[number].position.reading() for number in candidates]
            read, _ = await asyncio.wait(readings, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if read and not any(self._replicas[number].position.has(wanted) for number in candidates):
                await asyncio.sleep(PAUSE_SECONDS)
        return PRIMARY


def _may_have(replica: Replica[Server], wanted: int) -> bool:
    """It answers, and has not missed a position that it still lacks."""
    position = replica.position.position
    return replica.trouble is None and (position >= wanted or position >= replica.missed)


class ReplicaReads:
    """Statements on the MySQL view, each run by the server of its operation."""

    def __init__(self, replicas: Replicas[Database]) -> None:
        self._replicas = replicas

    async def fetch_all(self, sql: str, arguments: Arguments = ()) -> list[Row]:
        """Every row of one statement's result."""
        return await self._replicas.ask(lambda database: database.fetch_all(sql, arguments))

    async def fetch_one(self, sql: str, arguments: Arguments = ()) -> Row | None:
        """The first row of one statement's result, or None."""
        return await self._replicas.ask(lambda database: database.fetch_one(sql, arguments))
