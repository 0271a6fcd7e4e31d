"""Sessions as their owner recognises them, and the end of one of them."""

from datetime import datetime
from typing import Annotated

import strawberry
import structlog

from auth.permissions import Right, may
from auth.session_rows import SessionClient, SignInSession
from graph.context import Info
from graph.scalars import user_id_argument, user_id_of
from graph.types import LogoutPayload

log = structlog.get_logger(__name__)


@strawberry.type(description="A session as its owner recognises it.")
class SessionInfo:
    id: strawberry.ID = strawberry.field(description="For `endSession`. It gives no access.")
    current: bool = strawberry.field(description="This request's own session.")
    started_at: datetime = strawberry.field(description="When the user signed in.")
    last_seen_at: datetime = strawberry.field(
        description="When the session was started or last refreshed: clients in use refresh every few minutes."
    )
    expires_at: datetime = strawberry.field(description="When it ends without another refresh.")
    device: str = strawberry.field(
        description="The client that signed in, as it names itself, such as `Firefox on Linux`."
    )
    address: str | None = strawberry.field(
        description="The IPv4 address, or the first 64 bits of the IPv6 address, at `lastSeenAt`; null if not known."
    )

    @classmethod
    def of(cls, session: SignInSession, client: SessionClient, *, current: bool) -> "SessionInfo":
        return cls(
            id=strawberry.ID(str(session.id)),
            current=current,
            started_at=session.started_at,
            last_seen_at=session.used_at,
            expires_at=session.expires_at,
            device=client.device,
            address=client.address or None,
        )


async def sessions(
    info: Info,
    user_id: Annotated[strawberry.ID | None, strawberry.argument(description="Whose; by default the viewer's.")] = None,
) -> list[SessionInfo]:
    context, services = info.context, info.context.services
    claims = await context.session()
    asked = claims.user_id if user_id is None else user_id_argument(user_id)
    await context.allowed_on(asked, Right.MANAGE_SESSIONS)
    account = await services.commands.account(asked)
    return [
        SessionInfo.of(session, services.sessions.client_of(session), current=session.id == claims.session_id)
        for session in await services.sessions.of_user(asked, account)
    ]


async def end_session(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="The session's id.")],  # noqa: A002
) -> LogoutPayload:
    viewer, session_id = await info.context.signed_in(), user_id_of(id)
    if session_id is None:
        return LogoutPayload(logged_out=False)
    # One statement, whether the session is another user's or does not exist.
    owner = None if may(viewer.role, Right.MANAGE_SESSIONS) else viewer.id
    ended = await info.context.services.sessions.end(session_id, owner)
    if ended:
        log.info("session.ended", session=str(session_id), by=str(viewer.id))
    return LogoutPayload(logged_out=ended)
