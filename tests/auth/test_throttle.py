"""Throttling: guesses slow down across processes, and the owner of an account is not locked out by others."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.throttle import (
    ACCOUNT,
    ADDRESS,
    MOMENT,
    OWNER,
    PasswordAttempt,
    Target,
    Throttle,
    TooManyFailures,
    password_change,
)
from events.database import Database
from tests.auth.clock import Time

SECRET = b"s" * 32
HERE, THERE = "203.0.113.7", "198.51.100.9"


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def throttle(database: Database, time: Time) -> Throttle:
    return Throttle(database, SECRET, time.now)


async def wait_of(throttle: Throttle, login: str, address: str) -> int:
    """Fail an attempt; return the seconds that it has to wait, 0 if it was accepted."""
    try:
        await throttle.begin(throttle.sign_in(login), address)
    except TooManyFailures as error:
        return error.seconds
    return 0


async def fail(throttle: Throttle, times: int, login: str, address: str) -> list[int]:
    return [await wait_of(throttle, login, address) for _ in range(times)]


async def test_the_pause_grows_with_each_failure(throttle: Throttle, time: Time) -> None:
    """Ten are free; then 1 s, 2 s, 4 s and so on, up to a quarter of an hour, and never for good."""
    assert await fail(throttle, 10, "ada", HERE) == [0] * 10

    pauses = []
    for _ in range(14):
        pause = await wait_of(throttle, "ada", HERE)
        pauses.append(pause)
        time.pass_(seconds=pause)
        assert await wait_of(throttle, "ada", HERE) == 0

    assert pauses[:6] == [1, 2, 4, 8, 16, 32]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 15 * 60


async def test_an_attempt_that_has_to_wait_does_not_prolong_the_wait(throttle: Throttle, time: Time) -> None:
    """Refused attempts do not prolong the pause."""
    await fail(throttle, 13, "ada", HERE)
    before = await wait_of(throttle, "ada", HERE)

    await fail(throttle, 50, "ada", HERE)

    assert await wait_of(throttle, "ada", HERE) == before


async def test_failures_are_forgiven_little_by_little(throttle: Throttle, time: Time) -> None:
    """One every 15 minutes."""
    await fail(throttle, 10, "ada", HERE)
    time.pass_(minutes=30)

    assert await fail(throttle, 3, "ada", HERE) == [0, 0, 1]


async def test_the_owner_is_not_kept_out_by_others(throttle: Throttle, time: Time) -> None:
    """Where the account was signed in to before, only failures from there count."""
    await throttle.succeeded(await throttle.begin(throttle.sign_in("ada"), HERE))
    await fail(throttle, 60, "ada", THERE)

    assert await wait_of(throttle, "ada", THERE) > 0
    assert await fail(throttle, 20, "ada", HERE) == [0] * 20
    assert await wait_of(throttle, "ada", HERE) > 0


async def test_a_strange_address_waits_for_all_strange_addresses(throttle: Throttle) -> None:
    """Guessing from many places is counted together."""
    waits = [await wait_of(throttle, "ada", f"192.0.2.{number}") for number in range(12)]

    assert waits == [0] * 10 + [1, 1]


async def test_a_login_is_one_however_it_is_written(throttle: Throttle) -> None:
    """As sign-in takes it: without regard to case, and after NFKC."""
    for login in ("ada", "ADA", "\uff41\uff44\uff41", "Ada") * 3:
        await wait_of(throttle, login, HERE)

    assert await wait_of(throttle, "aDa", HERE) > 0
    assert await wait_of(throttle, "adah", HERE) == 0


async def test_an_address_that_tries_many_accounts_is_slowed_down(throttle: Throttle, time: Time) -> None:
    """After a hundred failures at whatever accounts; other addresses are not concerned."""
    assert {await wait_of(throttle, f"user{number}", HERE) for number in range(100)} == {0}

    assert await wait_of(throttle, "somebody", HERE) == 1
    assert await wait_of(throttle, "somebody", THERE) == 0
    time.pass_(minutes=5)
    assert {await wait_of(throttle, f"user{number}", HERE) for number in range(30)} == {0}


async def test_success_at_an_own_account_does_not_clear_the_address(throttle: Throttle) -> None:
    """Otherwise each sign-in to an own account would allow more guesses at others."""
    for number in range(99):
        await wait_of(throttle, f"user{number}", HERE)
        if number % 10 == 0:
            await throttle.succeeded(await throttle.begin(throttle.sign_in("mallory"), HERE))

    assert await fail(throttle, 3, "ada", HERE) == [0, 1, 1]


async def test_success_clears_the_account(throttle: Throttle) -> None:
    """The right password resets the counter."""
    await fail(throttle, 9, "ada", HERE)
    await throttle.succeeded(await throttle.begin(throttle.sign_in("ada"), HERE))

    assert await fail(throttle, 20, "ada", HERE) == [0] * 20


async def test_the_owners_success_elsewhere_does_not_forgive_a_stranger(throttle: Throttle) -> None:
    """Otherwise each sign-in of the owner, from whatever new address, would allow ten more guesses."""
    admitted = 0
    for number in range(50):
        admitted += (await fail(throttle, 9, "ada", THERE)).count(0)
        try:
            await throttle.succeeded(await throttle.begin(throttle.sign_in("ada"), f"192.0.2.{number}"))
        except TooManyFailures:
            continue

    assert admitted == ACCOUNT.free


async def test_success_of_a_stranger_resets_nothing(throttle: Throttle, time: Time) -> None:
    """Whatever its username reads like: the victim's email in other characters, or the victim's id."""
    victim = UUID(int=7)
    lookalikes = ("victim\uff20example.com", "victim\ufe6bexample.com", str(victim), "VICTIM\uff20EXAMPLE.COM")
    targets = (throttle.sign_in("victim@example.com"), password_change(victim))
    admitted = dict.fromkeys(targets, 0)
    for number in range(1_000):
        address = f"192.0.2.{number // 50}"
        for target in targets:
            try:
                await throttle.begin(target, address)
            except TooManyFailures:
                continue
            admitted[target] += 1
        if number % 9 == 8:
            own = throttle.sign_in(lookalikes[number % len(lookalikes)])
            await throttle.succeeded(await throttle.begin(own, f"198.51.100.{number % 250}"))

    assert set(admitted.values()) == {ACCOUNT.free}


async def test_a_success_ends_no_pause_but_its_own(throttle: Throttle, time: Time) -> None:
    """An attempt at an own account that is still being checked does not open the address for another guess."""
    await fail(throttle, 4, "ada", HERE)
    for number in range(ADDRESS.free - 5):
        await wait_of(throttle, f"user{number}", HERE)
    own = await throttle.begin(throttle.sign_in("mallory"), HERE)
    time.pass_(seconds=1)
    assert await wait_of(throttle, "ada", HERE) == 0
    pause = await wait_of(throttle, "ada", HERE)

    await throttle.succeeded(own)

    assert await wait_of(throttle, "ada", HERE) == pause > 0


async def test_an_address_is_known_for_all_names_of_the_user(throttle: Throttle) -> None:
    """Who signed in by username waits for no stranger at the email, nor at a change of the password."""
    email, change = throttle.sign_in("ada@example.com"), password_change(UUID(int=7))
    await throttle.succeeded(await throttle.begin(throttle.sign_in("ada"), HERE), email, change)

    for target in (email, change):
        for _ in range(ACCOUNT.free):
            await throttle.begin(target, THERE)
        for _ in range(OWNER.free):
            await throttle.begin(target, HERE)


PURPOSES = st.sampled_from(["sign-in", "change-password"])
TARGETS = st.builds(Target, PURPOSES, st.sampled_from(["username", "email", "user"]), st.binary(max_size=32))


@given(
    one=st.tuples(st.text(), TARGETS | st.none(), st.text()), other=st.tuples(st.text(), TARGETS | st.none(), st.text())
)
def test_two_counters_have_one_key_only_if_they_are_one(
    one: tuple[str, Target | None, str], other: tuple[str, Target | None, str]
) -> None:
    """Purpose, kind, digest and address are part of the key, and none can read like two of them."""
    key = Throttle(None, SECRET, Time().now)._key  # type: ignore[arg-type]

    assert (key(*one) == key(*other)) == (one == other)


async def test_what_was_never_looked_at_does_not_count(throttle: Throttle) -> None:
    """A server without room for the attempt takes it back."""
    for _ in range(30):
        await throttle.take_back(await throttle.begin(throttle.sign_in("ada"), HERE))

    assert await fail(throttle, 10, "ada", HERE) == [0] * 10


@asynccontextmanager
async def another_process(database: Database, time: Time) -> AsyncIterator[Throttle]:
    """What another process, or this one after a restart, has: the same database and the same secret."""
    other = Database.at(database.address, size=20)
    try:
        yield Throttle(other, SECRET, time.now)
    finally:
        await other.close()


async def test_guesses_at_the_same_moment_on_all_processes_are_counted(
    database: Database, throttle: Throttle, time: Time
) -> None:
    """Sixty at once through two pools: ten are checked. Counted after the check, all would pass."""
    async with another_process(database, time) as other:
        waits = await asyncio.gather(
            *(wait_of(one, "ada", f"192.0.2.{number}") for number in range(30) for one in (throttle, other))
        )

        assert waits.count(0) == ACCOUNT.free


async def verdict(database: Database, time: Time, login: str, address: str) -> int:
    """What the table says of an attempt now, as a process that has just started reads it: 0, or the seconds to wait."""
    fresh = Throttle(database, SECRET, time.now)
    try:
        await fresh.take_back(await fresh.begin(fresh.sign_in(login), address))
    except TooManyFailures as error:
        return error.seconds
    return 0


@pytest.mark.parametrize("seed", range(4))
async def test_what_a_process_remembers_admits_nobody_and_keeps_nobody_out(
    database: Database, throttle: Throttle, time: Time, seed: int
) -> None:
    """Two processes fail, succeed and take back at random, and an operator deletes counters. A process refuses whom the
    table refuses, and within a second of what ended a pause elsewhere it says what the table says."""
    chance, refused = random.Random(seed), 0
    async with another_process(database, time) as other:
        for login in "ab":
            await fail(throttle, ACCOUNT.free + 1, login, HERE)
        for _ in range(120):
            one, login, address = chance.choice((throttle, other)), chance.choice("ab"), chance.choice((HERE, THERE))
            time.pass_(seconds=chance.choice((0, 0, 0.2, 0.5, 1, 1.5)))
            if chance.random() < 0.03:
                await database.execute("DELETE FROM sign_in_failures")
            expected = await verdict(database, time, login, address)
            attempt: PasswordAttempt | None = None
            with suppress(TooManyFailures):
                await one.check_refusals(one.sign_in(login), address)
                attempt = await one.begin(one.sign_in(login), address)
            if expected:
                refused += 1
                assert attempt is None
            elif attempt is None:
                time.pass_(seconds=MOMENT.total_seconds())
                assert await wait_of(one, login, address) == await verdict(database, time, login, address) == 0
            elif chance.random() < 0.02:
                await one.succeeded(attempt)
            elif chance.random() < 0.1:
                await one.take_back(attempt)
    assert refused


async def test_a_restart_forgets_nothing(database: Database, throttle: Throttle, time: Time) -> None:
    """Another process continues with the same counters."""
    await fail(throttle, 13, "ada", HERE)
    async with another_process(database, time) as other:
        assert await wait_of(other, "ada", HERE) == await wait_of(throttle, "ada", HERE) > 0


async def test_what_is_kept_names_nobody(database: Database, throttle: Throttle) -> None:
    """Neither a login nor an address, nor a hash that could be reversed without the secret."""
    await throttle.succeeded(await throttle.begin(throttle.sign_in("ada"), HERE))
    await fail(throttle, 3, "ada", THERE)

    rows = [
        row
        for table in ("sign_in_failures", "known_addresses")
        for row in await database.fetch_all(f"SELECT * FROM {table}")
    ]
    assert len(rows) == 4
    text = repr(rows)
    assert not any(word in text for word in ("ada", HERE, THERE))
    assert all(isinstance(row[0], bytes) and len(row[0]) == 32 for row in rows)


async def test_sweeping_removes_what_is_forgiven(database: Database, throttle: Throttle, time: Time) -> None:
    """Also addresses not seen for three months; nothing else."""
    await throttle.succeeded(await throttle.begin(throttle.sign_in("ada"), HERE))
    await fail(throttle, 4, "bob", THERE)
    time.pass_(minutes=59)
    await throttle.sweep()
    assert await fail(throttle, 9, "bob", THERE) == [0] * 9  # a fifteenth of a failure was left
    assert await wait_of(throttle, "bob", THERE) > 0

    time.pass_(days=91)
    assert await throttle.sweep() > 0
    for table in ("sign_in_failures", "known_addresses"):
        assert await database.fetch_all(f"SELECT * FROM {table}") == []


def test_the_limits_are_what_the_documents_say() -> None:
    """docs/security.md states them."""
    assert (ACCOUNT.free, ACCOUNT.forgiven_in) == (10, timedelta(minutes=15))
    assert (ADDRESS.free, ADDRESS.forgiven_in) == (100, timedelta(seconds=10))


async def test_attempts_at_the_same_moment_by_slower_clocks_are_admitted(database: Database) -> None:
    """Other processes' clocks differ, and attempts wait for each other's locks: neither is a failure."""
    ahead, behind = Time(), Time()
    ahead.pass_(seconds=2)

    await Throttle(database, SECRET, ahead.now).begin(password_change(UUID(int=1)), HERE)
    later = Throttle(database, SECRET, behind.now)
    await later.take_back(await later.begin(password_change(UUID(int=2)), HERE))
    await later.begin(password_change(UUID(int=1)), HERE)
