"""The choice of the server that answers: replicas that answer, lack a position, stop in the middle, or are wrong."""

import asyncio
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

import pytest

from events.checkpoint import BEGINNING, Checkpoint
from events.errors import DatabaseUnavailable
from graph import replicas as module
from graph.errors import ClientError
from graph.freshness import ViewPosition, freshness, require_position
from graph.replicas import Replica, Replicas
from tests.waiting import PATIENCE_SECONDS, eventually

LOG = UUID(int=1)
ANOTHER_LOG = UUID(int=2)


@dataclass
class Fake:
    """A server that has the view."""

    name: str
    position: int = 10
    log_id: UUID = LOG
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False
    readings: int = 0

    def __post_init__(self) -> None:
        self.answers.set()

    async def checkpoint(self) -> Checkpoint:
        self.readings += 1
        await self.answers.wait()
        return Checkpoint(self.log_id, self.position, BEGINNING.hash)

    async def query(self) -> str:
        if self.fails:
            raise DatabaseUnavailable("this query fails")
        await self.answers.wait()
        return self.name


def of(primary: Fake, *servers: Fake) -> Replicas[Fake]:
    """The servers as the program wires them."""
    replicas = [Replica("view", one.name, one, one.checkpoint, LOG) for one in servers]
    return Replicas(primary, ViewPosition(primary), replicas, Random(1))


async def asked(replicas: Replicas[Fake], at_least: int = 0) -> str:
    """The server that answers an operation with the header."""
    with require_position(at_least):
        await freshness().wait(replicas)
        return await replicas.ask(Fake.query)


async def asked_often(replicas: Replicas[Fake], at_least: int = 0) -> set[str]:
    return {await asked(replicas, at_least) for _ in range(32)}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine does not make a replica look stopped."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(module, "GRACE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("graph.freshness.WAIT_SECONDS", 2 * PATIENCE_SECONDS)


async def test_replicas_share_the_work_and_the_primary_does_none_of_their_work() -> None:
    assert await asked_often(of(Fake("primary"), Fake("a"), Fake("b"))) == {"a", "b"}


async def test_a_replica_without_the_position_does_not_answer() -> None:
    """Nor is it waited for while another has it. Without a position it may answer."""
    replicas = of(Fake("primary", 20), Fake("a", 10), Fake("b", 20))
    assert await asked_often(replicas, 20) == {"b"}
    assert await asked_often(replicas) == {"a", "b"}


async def test_a_replica_that_is_late_is_waited_for() -> None:
    """Replication takes milliseconds: the primary would have all reads of own writes otherwise."""
    late = Fake("a", 10)
    asking = asyncio.create_task(asked(of(Fake("primary", 20), late), 20))

    async def waited_for() -> bool:
        return late.readings > 3

    await eventually(waited_for)
    late.position = 20
    assert await asking == "a"


async def test_a_replica_that_missed_a_position_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has that position."""
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    primary, late = Fake("primary", 20), Fake("a", 10)
    replicas = of(primary, late)
    assert await asked(replicas, 20) == "primary"
    assert await asked(replicas, 20) == "primary"
    monkeypatch.setattr(module, "GRACE_SECONDS", PATIENCE_SECONDS)
    before = late.readings
    assert await asked(replicas, 20) == "primary"
    assert late.readings == before

    late.position = 20
    await asyncio.wait([asyncio.create_task(asked(replicas))])
    assert await asked(replicas, 20) == "a"


async def test_a_position_that_nobody_has_is_held_against_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may require any position, and must not move the reads of others to the primary."""
    replicas = of(primary := Fake("primary", 20), one := Fake("a", 20))
    await asked_often(replicas)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr("graph.freshness.WAIT_SECONDS", 0.0)
    for _ in range(3):
        with pytest.raises(ClientError, match="position"):
            await asked(replicas, 2**62)
    monkeypatch.setattr(module, "GRACE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("graph.freshness.WAIT_SECONDS", PATIENCE_SECONDS)
    primary.position = one.position = 30
    assert await asked_often(replicas, 30) == {"a"}


async def test_a_question_that_a_stopped_replica_has_is_asked_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops in the middle. Once that is found out nobody asks it, until it answers again."""
    replicas = of(Fake("primary"), stopped := Fake("a"), other := Fake("b"))
    await asked_often(replicas)
    stopped.answers.clear()
    asking = [asyncio.create_task(asked(replicas)) for _ in range(8)]
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    watching = asyncio.create_task(replicas.run())
    assert {await one for one in asking} == {"b"}

    async def passed_over() -> bool:
        return await asked_often(replicas) == {"b"}

    async def both() -> bool:
        return await asked_often(replicas) == {"a", "b"}

    await eventually(passed_over)
    monkeypatch.setattr(module, "ANSWER_SECONDS", PATIENCE_SECONDS)
    stopped.answers.set()
    await eventually(both)
    other.answers.clear()
    watching.cancel()


async def test_many_who_find_a_replica_stopped_share_its_reading() -> None:
    """A hundred operations are one reading of each checkpoint."""
    replicas = of(Fake("primary"), one := Fake("a"))
    one.answers.clear()
    asking = [asyncio.create_task(asked(replicas)) for _ in range(100)]

    async def all_wait() -> bool:
        return one.readings > 0

    await eventually(all_wait)
    one.answers.set()
    assert {await done for done in asking} == {"a"}
    assert one.readings == 1


async def test_a_query_that_fails_on_a_replica_is_asked_elsewhere() -> None:
    """The replica answers others meanwhile, and is asked again by the next operation."""
    replicas = of(Fake("primary"), Fake("a", fails=True), Fake("b", fails=True))
    assert await asked_often(replicas) == {"primary"}


async def test_an_operation_is_not_continued_from_an_older_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its replica was at 20 and fails. One that is at 10 must not go on, although the client requires nothing."""
    replicas = of(primary := Fake("primary", 20), ahead := Fake("a", 20), Fake("b", 10))
    await asked_often(replicas)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    with require_position(0):
        freshness().servers[primary.name] = 0
        assert await replicas.ask(Fake.query) == "a"
        ahead.fails = True
        assert await replicas.ask(Fake.query) == "primary"


async def test_a_replica_of_another_log_answers_nothing() -> None:
    replicas = of(Fake("primary"), Fake("a", log_id=ANOTHER_LOG), Fake("b"))
    assert await asked_often(replicas) == {"b"}


async def test_a_replica_that_lags_for_long_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has what the primary had that long ago."""
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.001)
    monkeypatch.setattr(module, "LAG_SECONDS", 0.003)
    replicas = of(Fake("primary", 20), late := Fake("a", 10), Fake("b", 20))
    watching = asyncio.create_task(replicas.run())

    async def passed_over() -> bool:
        return await asked_often(replicas) == {"b"}

    async def both() -> bool:
        return await asked_often(replicas) == {"a", "b"}

    await eventually(passed_over)
    late.position = 19
    assert await asked_often(replicas) == {"b"}
    late.position = 20
    await eventually(both)
    watching.cancel()
