"""Group append: callers share transactions; no refusal, cancellation or outage of one harms another."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from events import appender as appender_module
from events.appender import Appender
from events.batch import Append, Appended, Outcome
from events.database import Connection, Database, Row
from events.errors import ClaimTaken, DatabaseUnavailable, EventsError, OutcomeUnknown, Rejected, WrongExpectedVersion
from events.event_types import UserUpdated
from events.statements import LOCK_HEAD
from events.user import Account, Register, decide
from tests.log import NOBODY, Log, present, registration, wire
from tests.system.proxy import proxied
from tests.waiting import eventually


def append_of(log: Log, username: str, **fields: Any) -> Append:
    """The registration of a user, ready to be appended."""
    user_id = log.commands._new_id()
    events = decide(Account(), registration(username, **fields))
    return Append(user_id, 0, None, log.vault.new_key(user_id), events, NOBODY)


async def transactions(database: Database) -> int:
    """How many transactions the server has committed for this schema's tables, as the log's head counts them."""
    row = await database.fetch_one("SHOW GLOBAL STATUS LIKE 'Com_commit'")
    return int(row[1]) if row else 0


async def test_callers_that_wait_share_a_transaction(log: Log) -> None:
    """A hundred callers at once take a few commits, not a hundred."""
    before = await transactions(log.database)

    await asyncio.gather(*(log.register(f"user{number}") for number in range(100)))

    assert await transactions(log.database) - before < 20
    assert len(await log.all()) == 100


async def test_refused_ones_in_a_batch_touch_no_neighbour(log: Log) -> None:
    """A taken name, a stale version and a wrong one among good ones: exactly those are refused, each for its reason."""
    first = await log.register("taken")
    appends = [append_of(log, f"user{number}") for number in range(20)]
    appends[3] = append_of(log, "taken", email="other@example.com")
    appends[7] = msgspec.structs.replace(append_of(log, "stale"), expected_version=4)
    appends[11] = msgspec.structs.replace(append_of(log, "stream"), stream_id=first.user_id)
    appends[15] = append_of(log, "user2", email="fifteen@example.com")

    outcomes = await asyncio.gather(*(log.appender.append(one) for one in appends), return_exceptions=True)

    refused = {number: type(outcome) for number, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    assert refused == {3: ClaimTaken, 7: WrongExpectedVersion, 11: WrongExpectedVersion, 15: ClaimTaken}
    positions = [outcome.position for outcome in outcomes if isinstance(outcome, Appended)]
    assert positions == list(range(2, 18))


async def test_each_outcome_is_reported_and_a_report_that_fails_harms_no_append(log: Log) -> None:
    """Successes and refusals are reported with their seconds; callers get their answers although the report fails."""
    reported = list[tuple[type, float]]()

    def on_outcome(outcome: Outcome, seconds: float) -> None:
        reported.append((type(outcome), seconds))
        raise RuntimeError("the metrics are broken")

    appender = Appender(log.database, log.keys, log.vault, present, log.commands._new_id, on_outcome=on_outcome)

    appended = await appender.append(append_of(log, "ada"))
    with pytest.raises(ClaimTaken):
        await appender.append(append_of(log, "ada"))

    assert isinstance(appended, Appended)
    assert [kind for kind, _ in reported] == [Appended, ClaimTaken]
    assert all(0 < seconds < 60 for _, seconds in reported)


async def test_a_row_that_the_server_refuses_fails_alone(log: Log) -> None:
    """What no rule foresaw: a statement fails, the batch is written one by one, and only the guilty one fails."""
    appends = [append_of(log, f"user{number}") for number in range(10)]
    (event,) = appends[4].events
    too_long = msgspec.structs.replace(event, attributes={"a": "x" * 2**24})
    appends[4] = msgspec.structs.replace(appends[4], events=(too_long,))

    outcomes = await asyncio.gather(*(log.appender.append(one) for one in appends), return_exceptions=True)

    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [4]
    assert len(await log.all()) == 9


async def test_a_lost_claim_fails_one_append_of_a_batch(log: Log) -> None:
    """The claim that the user gives up is missing or another user's; the others of the same batch are written."""
    users = [done.user for done in [await log.register(f"user{number}") for number in range(10)] if done.user]
    keys = {user.id: (await log.store.read_stream(user.id)).key for user in users}
    await log.database.execute("DELETE FROM claims WHERE user_id = %s", (users[2].id.bytes,))
    await log.database.execute(
        "UPDATE claims SET user_id = %s WHERE user_id = %s", (users[0].id.bytes, users[7].id.bytes)
    )
    appends = [
        Append(user.id, 1, user, key, (UserUpdated(username=f"{user.username}x"),), NOBODY)
        for user in users
        if (key := keys[user.id])
    ]

    outcomes = await asyncio.gather(*(log.appender.append(one) for one in appends), return_exceptions=True)

    refused = {number: str(outcome) for number, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    assert sorted(refused) == [2, 7]
    assert all("username" in refused[number] and str(users[number].id) in refused[number] for number in refused)
    assert len(await log.all()) == 18


async def test_cancelled_callers_leave_the_others_their_outcome(log: Log) -> None:
    """At any moment; a cancelled one is in the log wholly or not at all."""
    chance = random.Random(1)
    tasks = [asyncio.create_task(log.register(f"user{number}")) for number in range(200)]
    for task in chance.sample(tasks, 80):
        await asyncio.sleep(chance.random() * 0.000_5)
        task.cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    recorded = await log.all()
    acknowledged = {outcome.user_id for outcome in outcomes if not isinstance(outcome, BaseException)}
    assert acknowledged <= {event.stream_id for event in recorded}
    assert [event.position for event in recorded] == list(range(1, len(recorded) + 1))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]


async def test_the_queue_is_bounded_and_callers_wait_for_a_place(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """More callers than places: all are served, and never more wait than the queue holds."""
    monkeypatch.setattr(appender_module, "QUEUED_APPENDS", 8)
    monkeypatch.setattr(appender_module, "BATCH_APPENDS", 4)
    small = wire(log.database)

    await asyncio.gather(*(small.register(f"user{number}") for number in range(60)))

    assert small.appender._queue.maxsize == 8
    assert len(await log.all()) == 60


async def test_a_commit_whose_answer_is_lost_is_looked_for_and_not_guessed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks right after the COMMIT was sent: it took effect, and each caller gets its result once."""
    address = log.database.address
    url = f"mysql://{address.user}:x@{address.host}:{address.port}/{address.database}"
    async with proxied(url) as proxy:
        database = Database.at(replace(address, port=proxy.port), size=4)
        remote, run, cuts = wire(database), Connection.run, [True, True]

        async def cut_after_commit(connection: Connection, statements: Sequence[str]) -> list[list[Row]]:
            done = await run(connection, statements)
            if statements[-1] == "COMMIT" and cuts and cuts.pop():
                proxy.cut()
                proxy.connect(url)
                raise ConnectionResetError("the answer to the COMMIT was lost")
            return done

        monkeypatch.setattr(Connection, "run", cut_after_commit)
        outcomes = await asyncio.gather(*(remote.register(f"user{number}") for number in range(10)))
        await database.close()

    assert cuts == []
    assert {outcome.user_id for outcome in outcomes} == {event.stream_id for event in await log.all()}
    assert len(await log.all()) == 10


async def test_a_commit_that_was_lost_before_it_arrived_is_written_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks instead of the COMMIT: it did not happen, and is done again, once."""
    run, cuts = Connection.run, [True]

    async def cut_before_commit(connection: Connection, statements: Sequence[str]) -> list[list[Row]]:
        if statements[-1] == "COMMIT" and cuts and cuts.pop():
            connection._driver.close()
            raise ConnectionResetError("the COMMIT never arrived")
        return await run(connection, statements)

    monkeypatch.setattr(Connection, "run", cut_before_commit)

    await asyncio.gather(*(log.register(f"user{number}") for number in range(10)))

    assert cuts == []
    assert [event.position for event in await log.all()] == list(range(1, 11))


async def test_a_database_that_stays_away_is_told_as_what_it_is(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away before the COMMIT: nothing was written. Away during it and for good: unknown, and never a lie."""
    monkeypatch.setattr(appender_module, "RECOVERY_SECONDS", 0.3)
    address = log.database.address
    url = f"mysql://{address.user}:x@{address.host}:{address.port}/{address.database}"
    async with proxied(url) as proxy:
        database = Database.at(replace(address, port=proxy.port), size=2)
        remote, run = wire(database), Connection.run

        async def cut_at_commit(connection: Connection, statements: Sequence[str]) -> list[list[Row]]:
            if statements[-1] == "COMMIT":
                proxy.cut()
            return await run(connection, statements)

        with monkeypatch.context() as patched:
            patched.setattr(Connection, "run", cut_at_commit)
            with pytest.raises(OutcomeUnknown):
                await remote.register("unknown")
        told = await asyncio.gather(*(remote.register(f"away{n}") for n in range(40)), return_exceptions=True)
        assert {type(one) for one in told} == {DatabaseUnavailable}

        proxy.connect(url)
        await remote.register("back")
        await database.close()

    assert await log.commands.find("away0") is None
    assert await log.commands.find("back") is not None


async def test_a_writer_that_is_cut_off_tells_what_it_knows_and_no_more(log: Log) -> None:
    """Callers in the batch get `OutcomeUnknown`; callers in the queue get `DatabaseUnavailable`."""
    async with log.database.transaction() as blocking:
        await blocking.fetch_one(LOCK_HEAD)
        writing = [asyncio.create_task(log.register(f"user{number}")) for number in range(20)]
        await eventually(lambda: none_waits(log))
        waiting = [asyncio.create_task(log.register(f"late{number}")) for number in range(20)]
        await eventually(lambda: all_wait(log, 20))
        assert log.appender._writer is not None
        log.appender._writer.cancel()
        told = await asyncio.gather(*writing, *waiting, return_exceptions=True)

    assert [type(one) for one in told] == [OutcomeUnknown] * 20 + [DatabaseUnavailable] * 20
    await log.register("afterwards")
    assert await log.store.head() == 1


async def none_waits(log: Log) -> bool:
    """Whether the writer has taken all that waited, and is at it."""
    return log.appender._writer is not None and await all_wait(log, 0)


async def all_wait(log: Log, count: int) -> bool:
    return log.appender._queue.qsize() == count


async def test_of_one_email_in_32_processes_one_registration_succeeds(log: Log) -> None:
    """32 appenders with 4 callers each: one wins, all others get only that it is taken."""
    several = [wire(log.database) for _ in range(32)]
    attempts = [
        several[number % 32].commands.register(
            Register(username=f"user{number}", email="one@example.com", name="N"), NOBODY
        )
        for number in range(128)
    ]

    outcomes = await asyncio.gather(*attempts, return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, EventsError)]
    assert len(refused) == 127
    assert all(isinstance(one, Rejected) and [p.field for p in one.problems] == [("email",)] for one in refused)
    assert len(await log.all()) == 1
