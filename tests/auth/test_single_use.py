"""Signed tokens: only those issued here for the purpose are valid, until they expire, and each works once."""

import asyncio
import secrets
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.single_use import SingleUseTokens
from events.database import Database
from tests.auth.clock import Time

SECRET = b"s" * 32
HOUR = timedelta(hours=1)


def tokens_of(
    database: Database | None, time: Time, purpose: str = "invitation", secret: bytes = SECRET
) -> SingleUseTokens:
    return SingleUseTokens(database, secret, purpose, time.now, secrets.token_bytes)  # type: ignore[arg-type]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tokens(database: Database, time: Time) -> SingleUseTokens:
    return tokens_of(database, time)


def test_a_token_is_read_as_it_was_issued_until_it_expires(time: Time) -> None:
    """By every process that has the secret, without the database."""
    issued = tokens_of(None, time).issue(HOUR, 20)

    assert tokens_of(None, time).read(issued.text) == issued
    time.pass_(minutes=59)
    assert tokens_of(None, time).read(issued.text) == issued
    time.pass_(minutes=1)
    assert tokens_of(None, time).read(issued.text) is None


def test_a_token_of_another_purpose_or_secret_is_not_valid(time: Time) -> None:
    """A challenge, which anybody gets, is no invitation."""
    issued = tokens_of(None, time, "challenge").issue(HOUR)

    assert tokens_of(None, time, "invitation").read(issued.text) is None
    assert tokens_of(None, time, "challenge", b"t" * 32).read(issued.text) is None


ISSUED = tokens_of(None, Time()).issue(HOUR, 20)


@given(st.text() | st.text(alphabet="ABCxyz019-_=+/", min_size=70, max_size=80))
def test_any_other_text_is_no_token(text: str) -> None:
    """Nothing else is valid, and nothing raises."""
    assert tokens_of(None, Time()).read(text) is None


@given(st.integers(0, len(ISSUED.text) - 1), st.sampled_from("ABCDEFGHabcdefgh01234567-_"))
def test_a_token_cannot_be_changed(at: int, character: str) -> None:
    """Neither its expiry nor its number nor its id."""
    changed = ISSUED.text[:at] + character + ISSUED.text[at + 1 :]

    found = tokens_of(None, Time()).read(changed)
    assert (found is not None) == (changed == ISSUED.text)


async def test_a_token_works_once(tokens: SingleUseTokens) -> None:
    """Of twenty simultaneous uses one succeeds."""
    token = tokens.issue(HOUR)

    assert sorted(await asyncio.gather(*(tokens.use(token) for _ in range(20)))) == [False] * 19 + [True]
    assert await tokens.use(tokens.issue(HOUR))


async def test_a_token_that_is_given_back_works_again(tokens: SingleUseTokens) -> None:
    """And once."""
    token = tokens.issue(HOUR)
    assert await tokens.use(token)
    await tokens.give_back(token)

    assert [await tokens.use(token) for _ in range(2)] == [True, False]


async def test_expired_tokens_leave_nothing(database: Database, tokens: SingleUseTokens, time: Time) -> None:
    """Rows are swept once the tokens are not valid any more, and not before."""
    assert await tokens.use(tokens.issue(HOUR))
    assert await tokens.sweep() == 0
    time.pass_(minutes=61)

    assert await tokens.sweep() == 1
    assert await database.fetch_all("SELECT * FROM used_tokens") == []
