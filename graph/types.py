"""Output types. Their descriptions are printed into `schema.graphql`.

Expected failures of mutations are data in a payload's `errors`, so that a form can show them at its fields.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import Enum
from functools import partial
from typing import ClassVar, Self, cast

import msgspec
import strawberry
from strawberry.scalars import JSON

from auth.sign_in import SignedIn
from events.changes import Change, Unreadable
from events.errors import DamagedEvent, Problem
from events.user import User
from graph.audit_types import GREATEST_INT, After, First, UserEventConnection, history_page
from graph.context import Info
from graph.data_types import ERRORS, POSITION, DataObjectConnection, data_ids_of, data_of_user
from graph.event_names import UserEventType
from graph.limits import DEFAULT_PAGE
from graph.nodes import Node
from graph.projection_types import Projection
from graph.relay import PageInfo
from graph.scalars import Position, Role


async def _history(
    info: Info, root: strawberry.Parent[User], first: First = DEFAULT_PAGE, after: After = None
) -> UserEventConnection:
    return await history_page(partial(info.context.history, root.id), first, after)


async def _email_verified(info: Info, root: strawberry.Parent[User]) -> bool | None:
    return await info.context.email_verified(root.id)


@strawberry.type(name="User", description="A user, as the view that answered holds it.")
class UserType(Node):
    """The schema's `User`. Resolvers return `events.user.User`, which is shown without a copy."""

    shows: ClassVar[type] = User

    id: strawberry.ID = strawberry.field(
        description="A UUIDv7, or another UUID that the user was imported with. Globally unique, so it serves as the\n"
        "Relay node id as it is."
    )
    username: str = strawberry.field(description="Unique, compared without regard to case.")
    email: str = strawberry.field(description="Unique, compared without regard to case.")
    name: str = strawberry.field(description="As the person writes it.")
    role: Role = strawberry.field(description="What the user may do.")
    attributes: JSON = strawberry.field(
        description="Free-form data about the user, nested as deep as the client likes."
    )
    version: int = strawberry.field(description="How many events this user has had.")
    position: Position = strawberry.field(description="Position of the last event in this record.")
    created_at: datetime = strawberry.field(description="When the user was registered.")
    updated_at: datetime = strawberry.field(description="When the last event in this record happened.")
    history: UserEventConnection = strawberry.field(
        resolver=_history, description="The user's own events, oldest first. For the user and for staff."
    )
    data_ids: list[int] = strawberry.field(
        resolver=data_ids_of,
        description=(
            "Numbers of the data objects that the user owns, in order; the first 1,000. For the user and for staff."
        ),
    )
    data: DataObjectConnection = strawberry.field(
        resolver=data_of_user,
        description="The data objects that the user owns, in the order of their numbers. For the user and for staff.",
    )
    email_verified: bool | None = strawberry.field(
        resolver=_email_verified,
        description="Whether the email was confirmed by a mailed link; null for who may not know. Read from the log.",
    )

    @classmethod
    def is_type_of(cls, shown: object, _: object) -> bool:
        return isinstance(shown, cls.shows)


class ListedUser(msgspec.Struct, frozen=True):
    """The source of a `UserEdge`. The cursor is made on demand, since few clients select it."""

    node: User
    make_cursor: Callable[[], str]


def _cursor(root: ListedUser) -> str:
    return root.make_cursor()


@strawberry.type(description="A user at its place in a list.")
class UserEdge:
    shows: ClassVar[type] = ListedUser

    cursor: str = strawberry.field(resolver=_cursor, description="The user's place, for `after` or `before`. Opaque.")
    node: User = strawberry.field(graphql_type=UserType, description="The user.")


async def _total_count(root: "UserConnection") -> int:
    return await root.count()


@strawberry.type(description="One page of a list of users.")
class UserConnection:
    edges: list[ListedUser] = strawberry.field(
        graphql_type=list[UserEdge], description="The users of this page, in order."
    )
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    total_count: int = strawberry.field(
        resolver=_total_count, description="How many users the whole list has. Counted only if it is selected."
    )

    @classmethod
    def of(
        cls, edges: list[ListedUser], *, has_next: bool, has_previous: bool, count: Callable[[], Awaitable[int]]
    ) -> Self:
        ends = [edge.make_cursor() for edge in (edges[0], edges[-1])] if edges else []
        page_info = PageInfo.of(ends, has_next_page=has_next, has_previous_page=has_previous)
        return cls(edges=edges, page_info=page_info, count=count)


@strawberry.type(description="One change, pushed. Nothing is skipped and nothing is sent twice on one subscription.")
class UserChange:
    position: Position = strawberry.field(description="Of the event.")
    cursor: str = strawberry.field(description="Opaque. The place after this change: resume from it with `cursor`.")
    type: UserEventType = strawberry.field(description="What happened.")
    user_id: strawberry.ID = strawberry.field(description="The user it happened to.")
    version: int = strawberry.field(description="The user's version after it.")
    changed_fields: list[str] = strawberry.field(description="Names of the fields that the event set.")
    recorded_at: datetime = strawberry.field(description="When the log recorded it.")
    user: User | None = strawberry.field(
        graphql_type=UserType | None,
        description=(
            "The user right after this change; null once deleted. Null with the error DAMAGED if the log's events of\n"
            "this user cannot be read."
        ),
    )

    @classmethod
    def of(cls, source: Change) -> Self:
        recorded, user = source.recorded, source.user
        if isinstance(user, Unreadable):
            # GraphQL reports an exception that is the value of a field as the error of that field.
            user = cast("User", DamagedEvent(user.position, user.reason))
        return cls(
            position=Position(recorded.position),
            cursor=source.cursor,
            type=UserEventType(recorded.type),
            user_id=strawberry.ID(str(recorded.stream_id)),
            version=min(recorded.version, GREATEST_INT),
            changed_fields=list(recorded.fields),
            recorded_at=recorded.recorded_at,
            user=user,
        )


@strawberry.enum(description="Why something was refused.")
class ErrorCode(Enum):
    """A superset of `events.errors.Reason`."""

    INVALID = strawberry.enum_value("INVALID", description="The value cannot be accepted; message says why.")
    TAKEN = strawberry.enum_value(
        "TAKEN", description="The username or email belongs to someone else, or the username looks like another."
    )
    WEAK_PASSWORD = strawberry.enum_value("WEAK_PASSWORD", description="Choose a better password; message says why.")
    WRONG_CREDENTIALS = strawberry.enum_value(
        "WRONG_CREDENTIALS", description="The same answer whether the account exists or not."
    )
    LOCKED = strawberry.enum_value("LOCKED", description="Too many failures; message says when to try again.")
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="There is no such user or data object.")
    STALE_VERSION = strawberry.enum_value("STALE_VERSION", description="expectedVersion is not the current version.")
    INVALID_TOKEN = strawberry.enum_value(
        "INVALID_TOKEN",
        description="A refresh token or a mailed link that is unknown, expired, revoked or already used.",
    )
    UNVERIFIED_EMAIL = strawberry.enum_value(
        "UNVERIFIED_EMAIL",
        description="The password is right, but the email must be confirmed first; a mail with a link was sent to it.",
    )
    REGISTRATION_CLOSED = strawberry.enum_value(
        "REGISTRATION_CLOSED", description="Nobody can register here; an administrator creates accounts."
    )
    INVALID_INVITATION = strawberry.enum_value(
        "INVALID_INVITATION",
        description="Registration requires an invitation; this one is missing, forged, expired or already used.",
    )


@strawberry.type(description="Something the client can show at a form field.")
class UserError:
    code: ErrorCode = strawberry.field(description="The kind of problem.")
    message: str = strawberry.field(description="For a person to read.")
    field: list[str] | None = strawberry.field(description='Path into the input, such as ["email"].', default=None)
    retry_after: int | None = strawberry.field(
        description="With LOCKED: seconds until another attempt is checked.", default=None
    )

    @classmethod
    def of(cls, problem: Problem) -> Self:
        return cls(
            code=ErrorCode(problem.reason.value),
            message=problem.message,
            field=list(problem.field) if problem.field else None,
        )


@strawberry.type(description="The tokens of a session.")
class Session:
    access_token: str = strawberry.field(
        description="A JWT (EdDSA, header kid), at most 15 minutes; verify it with /.well-known/jwks.json."
    )
    access_token_expires_at: datetime = strawberry.field(description="The token is refused from then on.")
    refresh_token: str = strawberry.field(
        description="Opaque; each use replaces it, and a second use of the same one ends the whole session."
    )
    refresh_token_expires_at: datetime = strawberry.field(description="From then on the user has to sign in again.")

    @classmethod
    def of(cls, source: SignedIn) -> Self:
        return cls(
            access_token=source.token.token,
            access_token_expires_at=source.token.expires_at,
            refresh_token=source.refresh_token.text,
            refresh_token_expires_at=source.refresh_token_expires_at,
        )


@strawberry.type(description="The new user and its session, or errors.")
class RegisterPayload:
    user: User | None = strawberry.field(default=None, graphql_type=UserType | None, description="The new user.")
    session: Session | None = strawberry.field(default=None, description="The new user is signed in.")
    position: Position | None = strawberry.field(default=None, description=POSITION)
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type(description="An invitation to register, or errors.")
class InvitationPayload:
    invitation: str | None = strawberry.field(
        default=None, description="For `invitation` of `register`: works once, for whoever has it."
    )
    expires_at: datetime | None = strawberry.field(default=None, description="It is refused from then on.")
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type(description="The user as it is now, or errors.")
class UserPayload:
    user: User | None = strawberry.field(
        default=None, graphql_type=UserType | None, description="The user after the change."
    )
    position: Position | None = strawberry.field(default=None, description=POSITION)
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type(description="The new session, or errors.")
class SessionPayload:
    session: Session | None = strawberry.field(default=None, description="The new session.")
    user: User | None = strawberry.field(
        default=None, graphql_type=UserType | None, description="The user who signed in."
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type(description="The deleted user, or errors.")
class DeleteUserPayload:
    deleted_user_id: strawberry.ID | None = strawberry.field(default=None, description="The deleted user.")
    position: Position | None = strawberry.field(default=None, description=POSITION)
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type(description="Whether the session has ended.")
class LogoutPayload:
    logged_out: bool = strawberry.field(
        description="True: its tokens are refused from now on. False: there is none that you may end."
    )


@strawberry.type(description="The projection as it is now, or errors.")
class RebuildPayload:
    projection: Projection | None = strawberry.field(
        default=None, description="REBUILDING from now on until it is done; `projectionStatus` shows its progress."
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)
