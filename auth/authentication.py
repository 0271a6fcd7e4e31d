"""Authentication of one request: from an Authorization header to the user as it is now."""

from collections.abc import Callable
from datetime import datetime

from auth.sessions import Sessions
from auth.tokens import AccessTokens, InvalidToken, TokenClaims
from events.commands import UserCommands
from events.user import User


class SessionEnded(Exception):
    """The access token is valid, but its session has ended or its user was deleted."""


class Authenticator:
    """Reads who signs a request.

    An access token names a user and a session. Whether the session has ended and what the user may do is read for each
    request, so a change counts at once, whatever the token says.
    """

    def __init__(
        self,
        tokens: AccessTokens,
        sessions: Sessions,
        commands: UserCommands,
        clock: Callable[[], datetime],
    ) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._commands = commands
        self._clock = clock

    def claims(self, authorization: str) -> TokenClaims:
        """The claims of a bearer token (RFC 6750, section 2.1; the scheme is case-insensitive).

        Raises:
            InvalidToken: the header holds no access token that is valid now.
        """
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken("expected the form: Bearer TOKEN")
        return self._tokens.verify(token.strip())

    async def user(self, claims: TokenClaims) -> User:
        """The user whose session the claims name.

        Raises:
            SessionEnded: the session has ended, or the user was deleted.
        """
        found = await self._sessions.find_with_hash(claims.session_id, claims.user_id)
        if found is None:
            session, account = None, await self._commands.account(claims.user_id)
        else:
            session, last_hash = found
            account = await self._commands.account_at(claims.user_id, last_hash)
        if account.user is None:
            raise SessionEnded("the user of this access token is gone")
        if session is None or not session.counts_for(account, self._clock()):
            raise SessionEnded("the session of this access token has ended; sign in again")
        return account.user
