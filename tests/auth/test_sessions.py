"""Sessions and refresh tokens: one current token for each session, concurrent uses included; reuse ends it."""

import asyncio
import json
import random
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from auth.session_rows import RefreshToken, SessionKey
from auth.sessions import InvalidRefreshToken, Lifetimes, Sessions
from events.database import Database
from events.ids import new_id
from tests.auth.clock import Time

USER = uuid4()
SECRET = bytes(32)


def sessions_of(database: Database, time: Time, **lifetimes: timedelta) -> Sessions:
    return Sessions(database, SECRET, Lifetimes(**lifetimes), time.now, new_id)


async def refused(sessions: Sessions, token: str) -> bool:
    try:
        await sessions.refresh(token)
    except InvalidRefreshToken:
        return True
    return False


async def rows(database: Database) -> int:
    row = await database.fetch_one("SELECT COUNT(*) FROM sessions")
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

    assert await rows(database) == 1


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
    assert await sessions.find(first.session.id, USER) is None
    assert await sessions.find(other.session.id, USER) is not None


async def test_an_old_token_of_a_long_line_ends_it_too(database: Database) -> None:
    """A token of any generation is recognised, not only of the last one."""
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
    assert await rows(database) == 1


async def test_the_grace_of_a_hasty_line_has_an_end(database: Database) -> None:
    """The row holds the times of a limited number of replacements."""
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
    sessions = Sessions(database, SECRET, Lifetimes(), lambda: datetime.now(UTC), new_id)
    granted = await sessions.start(USER, 1)

    tokens = await both_at_once(database, granted.token, "10")

    assert len(tokens) == 20
    assert len(set(tokens)) == 1
    assert tokens[0] is not None
    assert await rows(database) == 1
    assert not await refused(sessions, tokens[0])


async def test_without_grace_one_wins_and_the_session_ends(database: Database) -> None:
    """The database decides: of twenty at once in two processes one is answered, and the next one ends the session."""
    sessions = Sessions(database, SECRET, Lifetimes(), lambda: datetime.now(UTC), new_id)
    granted = await sessions.start(USER, 1)

    tokens = [token for token in await both_at_once(database, granted.token, "0") if token is not None]

    assert len(tokens) == 1
    assert await sessions.find(granted.session.id, USER) is None
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
    """By the time at which they expire."""
    time = Time()
    sessions = sessions_of(database, time)
    old = await sessions.start(USER, 1)
    await sessions.refresh(old.token.text)
    time.pass_(days=6)
    young = await sessions.start(USER, 1)
    time.pass_(days=2)

    assert await sessions.sweep() == 1

    assert await database.fetch_all("SELECT id FROM sessions") == [(young.session.id.bytes,)]


async def test_the_database_cannot_give_a_token_away(database: Database) -> None:
    """Nothing of any token is stored."""
    time = Time()
    sessions = sessions_of(database, time)
    granted = [await sessions.start(USER, 1)]
    for _ in range(3):
        granted.append(await sessions.refresh(granted[-1].token.text))

    stored = b"".join(
        value for row in await database.fetch_all("SELECT * FROM sessions") for value in row if isinstance(value, bytes)
    )

    assert not any(one.token.mac in stored for one in granted)


async def test_a_user_has_a_limited_number_of_sessions(database: Database) -> None:
    """One more ends the least recently used one, and none of another user."""
    time = Time()
    sessions = Sessions(database, SECRET, Lifetimes(), time.now, new_id, per_user=3)
    other = await sessions.start(uuid4(), 1)
    granted = []
    for _ in range(3):
        granted.append(await sessions.start(USER, 1))
        time.pass_(minutes=1)
    granted[0] = await sessions.refresh(granted[0].token.text)
    time.pass_(minutes=1)

    newest = await sessions.start(USER, 1)

    assert await refused(sessions, granted[1].token.text)
    for one in (granted[0], granted[2], newest, other):
        assert not await refused(sessions, one.token.text)


async def test_many_sign_ins_at_once_stay_within_the_limit(database: Database) -> None:
    """Their statements interleave, as those of two processes do: the last to look sees the sessions of all."""
    time = Time()
    one, two = [Sessions(database, SECRET, Lifetimes(), time.now, new_id, per_user=5) for _ in range(2)]

    await asyncio.gather(*(sessions.start(USER, 1) for _ in range(20) for sessions in (one, two)))

    assert await rows(database) == 5


FORGED_TIME = datetime(2036, 1, 1)  # noqa: DTZ001 - a DATETIME column has no offset
ALTERATIONS = {
    "id": uuid4().bytes,
    "user_id": uuid4().bytes,
    "since": 2,
    "generation": 0,
    "used_at": FORGED_TIME,
    "expires_at": FORGED_TIME,
    "ends_at": FORGED_TIME,
    "replaced_at": b"",
    "mac": bytes(32),
}


@pytest.mark.parametrize("column", ALTERATIONS)
async def test_a_row_that_was_altered_is_no_session(database: Database, column: str) -> None:
    """Whichever column it is. The process logs it once."""
    sessions = sessions_of(database, Time())
    token = (await sessions.refresh((await sessions.start(USER, 1)).token.text)).token

    await database.execute(f"UPDATE sessions SET {column} = %s", (ALTERATIONS[column],))

    [(stored,)] = await database.fetch_all("SELECT id FROM sessions")
    session_id = UUID(bytes=stored)
    with capture_logs() as logs:
        assert await sessions.find(session_id, USER) is None
        assert await sessions.find_with_hash(session_id, USER) == (None, None)
        assert await sessions.live([session_id]) == set()
        assert await refused(sessions, SessionKey(SECRET).token(session_id, token.generation).text)
        await sessions.keep(session_id, 3)
    assert await sessions.find(session_id, USER) is None
    assert [(line["event"], line["session"]) for line in logs] == [("session.altered", str(session_id))]


async def test_a_row_with_an_impossible_date_is_no_session(database: Database) -> None:
    """MySQL stores 0000-00-00 for who asks it to, and the driver returns that as a text."""
    sessions = sessions_of(database, Time())
    session = (await sessions.start(USER, 1)).session
    async with database.connection() as connection:
        await connection.execute("SET SESSION sql_mode = ''")
        await connection.execute("UPDATE sessions SET used_at = '0000-00-00 00:00:00'")
        await connection.execute("SET SESSION sql_mode = DEFAULT")

    assert await sessions.find(session.id, USER) is None


async def test_another_secret_reads_no_session_and_no_token(database: Database) -> None:
    """What was made under one secret is nothing under another."""
    granted = await sessions_of(database, Time()).start(USER, 1)
    others = Sessions(database, secrets.token_bytes(32), Lifetimes(), Time().now, new_id)

    assert await others.find(granted.session.id, USER) is None
    assert await refused(others, granted.token.text)


async def test_a_session_is_found_for_its_own_user_only(database: Database) -> None:
    """A token that names the session and somebody else as its subject has no session."""
    sessions = sessions_of(database, Time())
    session = (await sessions.start(USER, 1)).session

    assert await sessions.find(session.id, USER) == session
    assert await sessions.find(session.id, uuid4()) is None
    assert await sessions.find_with_hash(session.id, uuid4()) == (None, None)


async def test_a_row_that_was_put_back_ends_at_the_next_refresh_of_its_owner(database: Database) -> None:
    """Its MAC is right. But the owner's token is newer than the row says."""
    time = Time()
    sessions = sessions_of(database, time)
    first = await sessions.start(USER, 1)
    [earlier] = await database.fetch_all("SELECT generation, used_at, expires_at, replaced_at, mac FROM sessions")
    time.pass_(minutes=15)
    second = await sessions.refresh(first.token.text)

    sql = "UPDATE sessions SET generation = %s, used_at = %s, expires_at = %s, replaced_at = %s, mac = %s"
    await database.execute(sql, earlier)

    assert await refused(sessions, second.token.text)
    assert await refused(sessions, first.token.text)


def test_a_token_has_one_spelling() -> None:
    """70 characters of base64url; any other text is no token."""
    key = SessionKey(SECRET)
    token = key.token(uuid4(), 7)

    assert key.read_token(token.text) == token
    for text in (
        "",
        "x",
        f"{token.text}=",
        f" {token.text}",
        f"{token.text}\n",
        token.text[:-1],
        token.text[:-1] + chr(ord(token.text[-1]) + 1),
        "é" * 70,
    ):
        assert key.read_token(text) is None


def test_a_token_is_its_session_and_its_generation() -> None:
    """With either of them changed it is another token, and nobody has its MAC."""
    key = SessionKey(SECRET)
    token = key.token(uuid4(), 7)

    for forged in (replace(token, generation=8), replace(token, session_id=uuid4()), replace(token, mac=bytes(32))):
        assert key.read_token(forged.text) is None
