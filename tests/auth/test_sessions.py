"""Sessions and refresh tokens: one current token for each session, concurrent uses included; reuse ends it."""

import asyncio
import json
import random
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from auth.sessions import InvalidRefreshToken, Lifetimes, RefreshToken, Sessions
from events.database import Database
from events.ids import new_id
from tests.auth.clock import Time

USER = uuid4()


def sessions_of(database: Database, time: Time, **lifetimes: timedelta) -> Sessions:
    return Sessions(database, Lifetimes(**lifetimes), time.now, new_id, secrets.token_bytes)


async def refused(sessions: Sessions, token: str) -> bool:
    try:
        await sessions.refresh(token)
    except InvalidRefreshToken:
        return True
    return False


async def in_force(database: Database, session_id: UUID) -> int:
    """The number of unused tokens of a session."""
    sql = "SELECT COUNT(*) FROM refresh_tokens WHERE session_id = %s AND used_at IS NULL"
    row = await database.fetch_one(sql, (session_id.bytes,))
    assert row is not None
    return int(row[0])


async def test_each_use_replaces_the_token(database: Database) -> None:
    """A chain of refreshes, each with the token of the one before, in one session."""
    time = Time()
    sessions = sessions_of(database, time)
    granted = await sessions.start(USER, 1)
    seen = {granted.token.text}

    for _ in range(5):
        time.pass_(minutes=15)
        following = await sessions.refresh(granted.token.text)
        assert following.session.id == granted.session.id
        assert following.token.text not in seen
        seen.add(following.token.text)
        granted = following

    assert await in_force(database, granted.session.id) == 1


async def test_a_used_token_ends_the_whole_session(database: Database) -> None:
    """Two clients have it, and the owner cannot be known: neither goes on."""
    time = Time()
    sessions = sessions_of(database, time)
    first = await sessions.start(USER, 1)
    other = await sessions.start(USER, 1)
    second = await sessions.refresh(first.token.text)

    time.pass_(seconds=11)

    assert await refused(sessions, first.token.text)
    assert await refused(sessions, second.token.text)
    assert await sessions.find(first.session.id) is None
    assert await sessions.find(other.session.id) is not None


async def test_an_old_token_of_a_long_line_ends_it_too(database: Database) -> None:
    """Every used token is stored, not only the last."""
    time = Time()
    sessions = sessions_of(database, time)
    first = granted = await sessions.start(USER, 1)
    for _ in range(20):
        time.pass_(minutes=15)
        granted = await sessions.refresh(granted.token.text)

    assert await refused(sessions, first.token.text)
    assert await refused(sessions, granted.token.text)


async def test_a_second_use_within_the_grace_gives_the_same_token(database: Database) -> None:
    """Two tabs, or a lost answer: both get the same successor."""
    time = Time()
    sessions = sessions_of(database, time)
    first = await sessions.start(USER, 1)
    second = await sessions.refresh(first.token.text)
    time.pass_(seconds=9)

    assert await sessions.refresh(first.token.text) == second
    third = await sessions.refresh(second.token.text)
    assert await sessions.refresh(first.token.text) == third  # it is led to the end of the line
    assert await in_force(database, first.session.id) == 1


async def test_the_grace_of_a_hasty_line_has_an_end(database: Database) -> None:
    """Each step costs a read of the database: only a limited number of replacements is followed."""
    sessions = sessions_of(database, Time())
    first = granted = await sessions.start(USER, 1)
    for _ in range(12):
        granted = await sessions.refresh(granted.token.text)

    assert await refused(sessions, first.token.text)


@pytest.mark.parametrize("seed", range(6))
async def test_a_session_has_one_token_in_force_whatever_comes(database: Database, seed: int) -> None:
    """Any order of uses, reuses and pauses is answered as by a simple model."""
    chance, time = random.Random(seed), Time()
    sessions = sessions_of(database, time)
    line = [await sessions.start(USER, 1)]
    used_at: list[datetime] = []
    for _ in range(60):
        time.pass_(seconds=chance.choice([0, 0, 1, 4, 4, 12]))
        index = max(len(line) - 1 - chance.choice([0, 0, 0, 0, 0, 1, 1, 2]), 0)
        used = index < len(used_at)
        may = not used or (time.now() - used_at[index] < timedelta(seconds=10) and len(line) - 1 - index < 10)
        if not may:
            assert await refused(sessions, line[index].token.text)
            assert await refused(sessions, line[-1].token.text)
            return
        granted = await sessions.refresh(line[index].token.text)
        if used:
            assert granted.token == line[-1].token
        else:
            used_at.append(time.now())
            line.append(granted)
        assert await in_force(database, line[0].session.id) == 1


def url_of(database: Database) -> str:
    at = database.address
    return f"mysql://{quote(at.user)}:{quote(at.password)}@{at.host}:{at.port}/{at.database}"


@asynccontextmanager
async def refresher(database: Database, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is ready to refresh."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.auth.refresher", url_of(database), *arguments, stdin=pipe, stdout=pipe
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def results(process: asyncio.subprocess.Process) -> list[str | None]:
    found: list[str | None] = json.loads((await process.communicate(b"go\n"))[0])
    return found


async def both_at_once(database: Database, token: RefreshToken, grace: str) -> list[str | None]:
    """The results of two processes that refresh with one token, each ten times at once."""
    arguments = (token.text, "10", grace)
    async with refresher(database, *arguments) as one, refresher(database, *arguments) as two:
        mine, yours = await asyncio.gather(results(one), results(two))
    return mine + yours


async def test_two_processes_that_refresh_at_once_get_one_token(database: Database) -> None:
    """Twenty uses of a token at once, in two processes: twenty answers with the same next token."""
    sessions = Sessions(database, Lifetimes(), lambda: datetime.now(UTC), new_id, secrets.token_bytes)
    granted = await sessions.start(USER, 1)

    tokens = await both_at_once(database, granted.token, "10")

    assert len(tokens) == 20
    assert len(set(tokens)) == 1
    assert tokens[0] is not None
    assert await in_force(database, granted.session.id) == 1
    assert not await refused(sessions, tokens[0])


async def test_without_grace_one_wins_and_the_session_ends(database: Database) -> None:
    """The database decides: of twenty at once in two processes one is answered, and the next one ends the session."""
    sessions = Sessions(database, Lifetimes(), lambda: datetime.now(UTC), new_id, secrets.token_bytes)
    granted = await sessions.start(USER, 1)

    tokens = [token for token in await both_at_once(database, granted.token, "0") if token is not None]

    assert len(tokens) == 1
    assert await sessions.find(granted.session.id) is None
    assert await refused(sessions, tokens[0])


async def test_a_session_that_is_not_refreshed_ends(database: Database) -> None:
    """After the idle time, which each refresh restarts."""
    time = Time()
    sessions = sessions_of(database, time)
    granted = await sessions.start(USER, 1)
    assert granted.session.expires_at == time.now() + timedelta(days=7)

    time.pass_(days=6, hours=23)
    granted = await sessions.refresh(granted.token.text)
    time.pass_(days=7)

    assert await refused(sessions, granted.token.text)


async def test_no_refreshing_prolongs_a_session_for_ever(database: Database) -> None:
    """The absolute lifetime holds, and the expiry that the client gets says so in advance."""
    time = Time()
    sessions = sessions_of(database, time)
    granted = await sessions.start(USER, 1)
    ends_at = granted.session.ends_at
    assert ends_at == time.now() + timedelta(days=30)

    for _ in range(5):
        time.pass_(days=5, hours=23)
        granted = await sessions.refresh(granted.token.text)
    assert granted.session.expires_at == ends_at
    time.pass_(days=1)

    assert await refused(sessions, granted.token.text)


async def test_sweeping_removes_what_has_expired_and_nothing_else(database: Database) -> None:
    """With their tokens."""
    time = Time()
    sessions = sessions_of(database, time)
    old = await sessions.start(USER, 1)
    await sessions.refresh(old.token.text)
    time.pass_(days=6)
    young = await sessions.start(USER, 1)
    time.pass_(days=2)

    assert await sessions.sweep() == 1

    rows = await database.fetch_all("SELECT session_id FROM refresh_tokens")
    assert rows == [(young.session.id.bytes,)]


async def test_the_database_cannot_give_a_token_away(database: Database) -> None:
    """No column of what is stored holds a token, nor is any of them enough to make the next one."""
    time = Time()
    sessions = sessions_of(database, time)
    granted = [await sessions.start(USER, 1)]
    for _ in range(3):
        granted.append(await sessions.refresh(granted[-1].token.text))

    stored = [
        value
        for table in ("sessions", "refresh_tokens")
        for row in await database.fetch_all(f"SELECT * FROM {table}")
        for value in row
        if isinstance(value, bytes)
    ]

    secrets_ = {one.token.secret for one in granted}
    texts = {one.token.text.encode() for one in granted}
    assert secrets_.isdisjoint(stored)
    assert texts.isdisjoint(stored)
    assert secrets_.isdisjoint(RefreshToken(stolen).successor(salt).secret for stolen in stored for salt in stored)


def test_a_token_has_one_spelling() -> None:
    """43 characters of base64url; any other text is no token."""
    token = RefreshToken(secrets.token_bytes(32))

    assert RefreshToken.parse(token.text) == token
    zero = RefreshToken(bytes(32)).text
    for text in (
        "",
        "x",
        f"{token.text}=",
        f" {token.text}",
        f"{token.text}\n",
        token.text[:-1],
        zero[:-1] + "B",
        "é" * 43,
    ):
        assert RefreshToken.parse(text) is None
