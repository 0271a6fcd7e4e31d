"""The Authorization header, and what ends the session that its token names."""

from datetime import UTC, datetime, timedelta

import pytest

from auth.authentication import Authenticator, SessionEnded
from auth.sessions import Lifetimes, Sessions
from auth.tokens import AccessTokens, InvalidToken, SigningKey
from events.event_types import Role
from events.ids import new_id
from events.user import Delete, User
from tests.log import NOBODY, Log, registration


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def tokens() -> AccessTokens:
    return AccessTokens(SigningKey.from_seed(bytes(32)), "rollcall", "rollcall", timedelta(minutes=15), now)


@pytest.fixture
def sessions(log: Log) -> Sessions:
    return Sessions(log.database, log.keys.sessions, Lifetimes(), now, new_id)


@pytest.fixture
def authenticator(log: Log, tokens: AccessTokens, sessions: Sessions) -> Authenticator:
    return Authenticator(tokens, sessions, log.commands, now)


async def signed_in(log: Log, tokens: AccessTokens, sessions: Sessions) -> tuple[User, str]:
    """A new user and the Authorization header of its session."""
    user = (await log.commands.register(registration("ada"), NOBODY)).user
    assert user is not None
    session = (await sessions.start(user.id, user.version)).session
    return user, f"Bearer {tokens.issue(user.id, user.role, session.id, new_id()).token}"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "  BEARER "])
def test_the_scheme_is_case_insensitive(authenticator: Authenticator, tokens: AccessTokens, scheme: str) -> None:
    """RFC 6750, section 2.1; spaces around the token do not matter."""
    user_id = new_id()
    token = tokens.issue(user_id, Role.CUSTOMER, new_id(), new_id()).token

    assert authenticator.claims(f"{scheme} {token} ").user_id == user_id


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer x.y.z"])
def test_any_other_header_is_refused(authenticator: Authenticator, authorization: str) -> None:
    """Another scheme, no token, or a text that is no token."""
    with pytest.raises(InvalidToken):
        authenticator.claims(authorization)


async def test_the_user_is_read_as_of_now(
    log: Log, tokens: AccessTokens, sessions: Sessions, authenticator: Authenticator
) -> None:
    """The claims name the user; everything else comes from the log."""
    user, header = await signed_in(log, tokens, sessions)

    assert await authenticator.user(authenticator.claims(header)) == user


async def test_an_ended_session_is_refused(
    log: Log, tokens: AccessTokens, sessions: Sessions, authenticator: Authenticator
) -> None:
    """By logout, and by the deletion of the user; the messages differ."""
    user, header = await signed_in(log, tokens, sessions)
    claims = authenticator.claims(header)

    await sessions.end(claims.session_id)
    with pytest.raises(SessionEnded, match="session of this access token has ended"):
        await authenticator.user(claims)

    await log.commands.change(user.id, Delete(), NOBODY)
    with pytest.raises(SessionEnded, match="user of this access token is gone"):
        await authenticator.user(claims)
