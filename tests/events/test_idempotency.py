"""Promise 2: a command that is sent again with the same key happens once, and gets the first answer again."""

import asyncio
from dataclasses import replace
from uuid import UUID

import msgspec
import pytest

from events import commands as commands_module
from events.batch import Appended
from events.commands import CommandResult
from events.database import Database
from events.errors import Reason, Rejected
from events.event_types import Role
from events.idempotency import EarlierResult, Idempotency, Request, find_request, sweep_requests
from events.user import ChangeRole, Delete, Update
from tests.events.test_appender import append_of
from tests.log import NOBODY, Log, registration, wire

SOMEBODY = UUID(int=7)


def key(text: str = "k", command: bytes = b"register alice", caller: UUID | None = None) -> Idempotency:
    """An idempotency key and what it goes with."""
    return Idempotency(caller, text, command)


async def register(log: Log, idempotency: Idempotency | None, username: str = "alice") -> CommandResult:
    """Register a user with a key."""
    return await log.commands.register(registration(username), NOBODY, idempotency)


async def test_a_command_that_is_sent_again_gets_the_first_answer_and_writes_nothing(log: Log) -> None:
    """Also when the user has moved on since: the answer is the one of then."""
    first = await register(log, key())
    await log.commands.change(first.user_id, Update(name="Other"), NOBODY)

    again = await register(log, key())

    assert again == replace(first, repeated=True)
    assert await log.store.head() == 2


async def test_of_one_request_at_the_same_moment_in_many_processes_one_takes_effect(log: Log) -> None:
    """Eight appenders get the same registration at once: one user, and eight times the same answer."""
    answers = await asyncio.gather(*(register(wire(log.database), key()) for _ in range(8)))

    assert len({answer.user_id for answer in answers}) == 1
    assert {answer.position for answer in answers} == {1}
    assert await log.store.head() == 1


async def test_of_one_request_many_times_in_one_batch_one_takes_effect(log: Log) -> None:
    """The callers of one process share a batch; the key counts within it too."""
    answers = await asyncio.gather(*(register(log, key()) for _ in range(20)))

    assert len({answer.user_id for answer in answers}) == 1
    assert await log.store.head() == 1


async def test_a_repeated_change_with_an_expected_version_is_not_stale(log: Log) -> None:
    """The first one has moved the version; the second one is the first one again."""
    alice = await log.register("alice")
    change = key(command=b"change")

    outcomes = await asyncio.gather(
        *(wire(log.database).commands.change(alice.user_id, Update(name="Al"), NOBODY, 1, change) for _ in range(6))
    )

    assert {outcome.position for outcome in outcomes} == {2}
    assert await log.store.head() == 2


async def test_a_repeated_deletion_says_again_that_it_is_done(log: Log) -> None:
    """Though there is no such user any more."""
    alice = await log.register("alice")
    first = await log.commands.change(alice.user_id, Delete(), NOBODY, None, key(command=b"delete"))

    again = await log.commands.change(alice.user_id, Delete(), NOBODY, None, key(command=b"delete"))

    assert (again.user, again.position) == (first.user, first.position) == (None, 2)


async def test_the_same_key_with_another_command_is_refused(log: Log) -> None:
    """Reusing a key for another command is refused, before and under the lock."""
    await register(log, key())

    with pytest.raises(Rejected, match="used for another command") as refused:
        await register(log, key(command=b"register bob"), "bob")

    assert [(p.reason, p.field) for p in refused.value.problems] == [(Reason.INVALID, ("idempotencyKey",))]
    assert await log.store.head() == 1


async def test_at_the_same_moment_the_same_key_with_different_commands_lets_one_through(log: Log) -> None:
    """One of them takes effect, the others are refused, whatever the order."""
    users = ["alice", "bob", "cid", "dan"]
    outcomes = await asyncio.gather(
        *(register(wire(log.database), key(command=user.encode()), user) for user in users), return_exceptions=True
    )

    assert sum(isinstance(outcome, CommandResult) for outcome in outcomes) == 1
    assert await log.store.head() == 1


async def test_keys_of_different_callers_have_nothing_to_do_with_each_other(log: Log) -> None:
    """A key is the caller's own."""
    await register(log, key(caller=None))

    done = await register(log, key(caller=SOMEBODY, command=b"register bob"), "bob")

    assert done.position == 2


async def test_a_refused_command_keeps_no_key(log: Log) -> None:
    """A registration that failed may be corrected and sent again with the same key."""
    await log.register("alice")
    with pytest.raises(Rejected):
        await register(log, key(), "alice")

    assert (await register(log, key(command=b"register alicia"), "alicia")).position == 2


@pytest.mark.parametrize("text", ["", "x" * 256])
async def test_a_key_that_cannot_be_one_is_refused(log: Log, text: str) -> None:
    """With its field named."""
    with pytest.raises(Rejected, match="1 to 255 characters"):
        await register(log, key(text))


async def test_keys_are_swept_after_a_day_and_not_before(log: Log) -> None:
    """What is swept is forgotten; what is younger still counts."""
    await register(log, key("old"))
    await log.database.execute("UPDATE requests SET made_at = made_at - INTERVAL 25 HOUR")
    await register(log, key("young", b"register bob"), "bob")

    assert await sweep_requests(log.database) == 1

    assert (await register(log, key("young", b"register bob"), "bob")).position == 2


async def test_what_is_kept_of_a_request_says_nothing_about_anybody(log: Log) -> None:
    """Keys and commands are there as keyed hashes only."""
    await register(log, key("my-secret-key", b"register alice@example.com"))

    rows = await log.database.fetch_all("SELECT * FROM requests")

    assert b"alice" not in repr(rows).encode()
    assert b"my-secret-key" not in repr(rows).encode()


async def test_a_role_change_may_be_repeated(log: Log) -> None:
    """A command whose effect is there already keeps no key and writes nothing."""
    alice = await log.register("alice")
    for _ in range(2):
        done = await log.commands.change(alice.user_id, ChangeRole(Role.ADMIN), NOBODY, None, key(command=b"promote"))
        assert done.position == 2


async def test_a_request_is_looked_for_under_the_lock(log: Log) -> None:
    """Nothing else would notice these two: other streams, other claims. The second one finds the first."""
    request = Request(bytes(32), bytes(32))
    appends = [msgspec.structs.replace(append_of(log, f"user{number}"), request=request) for number in range(2)]

    first, second = await asyncio.gather(*map(log.appender.append, appends))

    assert isinstance(first, Appended)
    assert second == EarlierResult(request.fingerprint, appends[0].stream_id, 1)
    assert await log.store.head() == 1


async def test_a_refusal_that_the_first_request_has_caused_is_not_passed_on(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one commits between the key lookup and the read of the user: the second repeats the lookup."""
    alice = await log.register("alice")
    change = key(command=b"change")
    first = await log.commands.change(alice.user_id, Update(name="Al"), NOBODY, 1, change)
    find, blind = find_request, [True]

    async def find_too_early(database: Database, request: Request) -> EarlierResult | None:
        return None if blind and blind.pop() else await find(database, request)

    monkeypatch.setattr(commands_module, "find_request", find_too_early)

    assert await log.commands.change(alice.user_id, Update(name="Al"), NOBODY, 1, change) == replace(
        first, repeated=True
    )
