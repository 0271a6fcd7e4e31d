"""Appending: all of it or nothing, on the version that was decided on, and never rewritten."""

import asyncio

import pytest
from asyncmy.errors import MySQLError

from events.batch import Append
from events.errors import LastAdmin, Reason, Rejected, WrongExpectedVersion
from events.event_types import Role, RoleChanged, UserDeleted
from events.user import ChangeRole, Command, Delete, Update
from tests.log import NOBODY, Log


async def test_a_stale_writer_is_refused_and_told_both_versions(log: Log) -> None:
    """An append on a version that the stream has left writes nothing and says what it found."""
    done = await log.register("alice")
    append = Append(done.user_id, 0, done.user, log.vault.new_key(done.user_id), (RoleChanged(Role.ADMIN),), NOBODY)

    with pytest.raises(WrongExpectedVersion, match=r"wrong expected version: 0 .* version 1\)"):
        await log.appender.append(append)

    assert await log.store.head() == 1


async def test_of_two_that_change_the_same_version_one_wins(log: Log) -> None:
    """Ten commands that all expect version 1: exactly one is executed, the others fail with a stale version."""
    done = await log.register("alice")
    updates = [log.commands.change(done.user_id, Update(name=f"Alice {n}"), NOBODY, 1) for n in range(10)]

    outcomes = await asyncio.gather(*updates, return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected | WrongExpectedVersion)]
    assert len(refused) == 9
    assert await log.store.head() == 2


async def test_commands_without_an_expected_version_all_take_effect(log: Log) -> None:
    """Who names no version means whatever the user is by now: concurrent patches of different keys all arrive."""
    done = await log.register("alice")
    patches = [log.commands.change(done.user_id, Update(attributes={f"k{n}": n}), NOBODY) for n in range(4)]

    await asyncio.gather(*patches)

    account = await log.commands.account(done.user_id)
    assert account.user is not None
    assert account.user.attributes == {"k0": 0, "k1": 1, "k2": 2, "k3": 3}
    assert account.version == 5


async def test_an_email_is_taken_in_any_case_by_exactly_one_of_two_at_once(log: Log) -> None:
    """Promise 4: of concurrent registrations of one email, written differently, exactly one wins."""
    spellings = ["Ann@Example.com", "ann@example.com", "ANN@EXAMPLE.COM", "ann@\uff45xample.com"]
    registrations = [log.register(f"ann{n}", email=email) for n, email in enumerate(spellings)]

    outcomes = await asyncio.gather(*registrations, return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert [[(p.reason, p.field) for p in r.problems] for r in refused] == [[(Reason.TAKEN, ("email",))]] * 3
    assert await log.store.head() == 1


async def test_of_a_username_and_an_email_that_are_both_taken_only_the_username_is_named(log: Log) -> None:
    """Otherwise any email could be tried beside a username that is known to be taken."""
    await log.register("alice")

    with pytest.raises(Rejected) as refused:
        await log.register("ALICE")

    assert [problem.field for problem in refused.value.problems] == [("username",)]


async def test_a_refused_append_leaves_nothing_behind(log: Log) -> None:
    """A taken email rolls the whole command back: its username stays free, the head stays where it was."""
    await log.register("alice")

    with pytest.raises(Rejected):
        await log.register("bob", email="alice@example.com")

    await log.register("bob")
    assert [recorded.position for recorded in await log.all()] == [1, 2]


async def test_claims_move_with_the_events_that_cause_it(log: Log) -> None:
    """A username that was given up, or whose user was deleted, is free for others at once."""
    alice = await log.register("alice")
    await log.commands.change(alice.user_id, Update(username="alicia"), NOBODY)
    again = await log.register("alice", email="other@example.com")
    await log.commands.change(again.user_id, Delete(), NOBODY)

    await log.register("Alice", email="third@example.com")

    found = await log.commands.find("ALICIA")
    assert found is not None
    assert found.user is not None
    assert found.user.id == alice.user_id


async def test_changing_only_the_case_of_ones_username_is_allowed(log: Log) -> None:
    """One's own claim does not stand in one's way."""
    alice = await log.register("alice")

    done = await log.commands.change(alice.user_id, Update(username="Alice"), NOBODY)

    assert done.user is not None
    assert done.user.username == "Alice"


async def test_two_admins_cannot_remove_each_other_at_once(log: Log) -> None:
    """The last ADMIN can be neither demoted nor deleted, decided under the lock: one of two always stays."""
    admins = [await log.register(f"admin{n}", Role.ADMIN) for n in range(2)]
    commands: list[Command] = [ChangeRole(Role.CUSTOMER), Delete()]

    outcomes = await asyncio.gather(
        *(log.commands.change(a.user_id, c, NOBODY) for a, c in zip(admins, commands, strict=True)),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, Rejected) for outcome in outcomes) == 1
    assert await log.store.head() == 3


async def test_the_last_admin_cannot_be_deleted_by_the_appender_either(log: Log) -> None:
    """The append enforces the rule for every decider."""
    done = await log.register("admin", Role.ADMIN)

    with pytest.raises(LastAdmin, match="last ADMIN"):
        await log.appender.append(
            Append(done.user_id, 1, done.user, log.vault.new_key(done.user_id), (UserDeleted(),), NOBODY)
        )


async def test_claims_are_kept_as_keyed_hashes_only(log: Log) -> None:
    """The claims table reveals no user data without the key."""
    await log.register("alice")

    rows = await log.database.fetch_all("SELECT kind, value_hash, user_id FROM claims ORDER BY kind")

    assert [row[0] for row in rows] == ["email", "username"]
    assert all(len(row[1]) == 32 and b"alice" not in row[1] for row in rows)


@pytest.mark.parametrize("statement", ["UPDATE events SET type = 'X'", "DELETE FROM events"])
async def test_the_database_itself_refuses_to_rewrite_history(log: Log, statement: str) -> None:
    """UPDATE and DELETE on `events` fail with a message that says why."""
    await log.register("alice")

    with pytest.raises(MySQLError, match="append-only"):
        await log.database.execute(statement)

    assert len(await log.all()) == 1


async def test_a_cancelled_append_leaves_no_half_and_no_dirty_connection(log: Log) -> None:
    """Cancelled at any moment, an append is there wholly or not at all, and the next ones are not disturbed."""
    for delay in range(30):
        task = asyncio.create_task(log.register(f"user{delay}"))
        await asyncio.sleep(delay * 0.000_2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await log.register("last")

    recorded = await log.all()
    claims = await log.database.fetch_one("SELECT COUNT(*) FROM claims")
    assert [event.position for event in recorded] == list(range(1, len(recorded) + 1))
    assert claims == (2 * len(recorded),)


async def test_a_second_owner_is_refused_even_without_looking_first(log: Log) -> None:
    """Behind the check under the lock stands the primary key of the table."""
    await log.register("alice")

    with pytest.raises(MySQLError, match="Duplicate entry"):
        await log.database.execute("INSERT INTO claims SELECT kind, value_hash, RANDOM_BYTES(16) FROM claims")
