"""Mutations and their inputs."""

import dataclasses
import hashlib
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Protocol
from uuid import UUID

import msgspec
import strawberry
import structlog
from strawberry.scalars import JSON

from auth.devices import device_of
from auth.permissions import Right, may
from auth.registration import INVITATION_DAYS, InvalidInvitation, RegistrationClosed
from auth.sessions import InvalidRefreshToken
from auth.sign_in import PasswordRefused, UnverifiedEmail, WrongCredentials
from auth.throttle import TooManyFailures
from events.errors import Reason, Rejected, WrongExpectedVersion
from events.event_types import Origin
from events.idempotency import KEY_CHARACTERS, Idempotency
from events.outbox import Mail
from events.rules import CONTENT_BYTES
from events.user import NO_SUCH_USER, ChangeRole, Command, Delete, Register, Update, User
from graph.context import Info
from graph.imports import ImportPayload, import_users
from graph.projection_types import Projection
from graph.scalars import Position, Role, user_id_of
from graph.sessions import end_session
from graph.types import (
    DeleteUserPayload,
    ErrorCode,
    InvitationPayload,
    LogoutPayload,
    RebuildPayload,
    RegisterPayload,
    Session,
    SessionPayload,
    UserError,
    UserPayload,
)
from graph.webhooks import WebhookPayload, create_webhook, delete_webhook, redeliver, update_webhook
from projections.errors import KeyUsed, RebuildRunning
from projections.status import VIEWS

log = structlog.get_logger(__name__)


USERNAME = "1 to 64 letters, digits and punctuation, without @ and spaces."
EMAIL = "An email address."
NAME = "1 to 200 characters of any script."
NEW_PASSWORD = "At least 8 characters."  # noqa: S105 - a description
ATTRIBUTES = (
    "Free-form data: a JSON object of at most 64 KiB, 2,000 values, 32 levels, and 128 characters a key.\n"
    "Keys keep their order."
)
EXPECTED_VERSION = "Refuse with STALE_VERSION unless the user is at this version."
INVITATION = "An invitation, if registration requires one: see INVALID_INVITATION."
PROOF_OF_WORK = "The answer to the challenge of PROOF_OF_WORK_REQUIRED: the challenge, a dot, and the number found."
IDEMPOTENCY_KEY = (
    "1 to 255 characters of your choice: for at least 24 hours the same key and caller get the first answer again, "
    "and nothing is written."
)


@strawberry.input(description="A new user, who signs up.")
class RegisterInput:
    username: str = strawberry.field(description=USERNAME)
    email: str = strawberry.field(description=EMAIL)
    name: str = strawberry.field(description=NAME)
    password: str = strawberry.field(description=NEW_PASSWORD)
    attributes: JSON | None = strawberry.field(default=None, description=ATTRIBUTES)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)
    invitation: str | None = strawberry.field(default=None, description=INVITATION)
    proof_of_work: str | None = strawberry.field(default=None, description=PROOF_OF_WORK)


@strawberry.input(description="A new user of any role, created by an ADMIN.")
class CreateUserInput:
    username: str = strawberry.field(description=USERNAME)
    email: str = strawberry.field(description=EMAIL)
    name: str = strawberry.field(description=NAME)
    password: str = strawberry.field(description=NEW_PASSWORD)
    role: Role = strawberry.field(description="What the user may do.")
    attributes: JSON | None = strawberry.field(default=None, description=ATTRIBUTES)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.input(description="The credentials of a user.")
class LoginInput:
    login: str = strawberry.field(description="Username or email.")
    password: str = strawberry.field(description="The password.")


@strawberry.input(
    description="Fields left out, or null, stay as they are; attributes is a JSON merge patch (RFC 7396)."
)
class UpdateUserInput:
    id: strawberry.ID = strawberry.field(description="The user to change.")
    username: str | None = strawberry.field(default=None, description="The new username.")
    email: str | None = strawberry.field(default=None, description="The new email.")
    name: str | None = strawberry.field(default=None, description="The new name.")
    attributes: JSON | None = strawberry.field(default=None, description="Merged into the attributes.")
    expected_version: int | None = strawberry.field(default=None, description=EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.input(description="A new password for the viewer.")
class ChangePasswordInput:
    current_password: str = strawberry.field(description="The password in force.")
    new_password: str = strawberry.field(description=NEW_PASSWORD)


@strawberry.input(description="Another role for a user.")
class ChangeRoleInput:
    id: strawberry.ID = strawberry.field(description="The user to change.")
    role: Role = strawberry.field(description="The new role.")
    expected_version: int | None = strawberry.field(default=None, description=EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.input(description="The user to delete.")
class DeleteUserInput:
    id: strawberry.ID = strawberry.field(description="The user to delete.")
    expected_version: int | None = strawberry.field(default=None, description=EXPECTED_VERSION)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


EXPECTED: Final = (
    Rejected,
    PasswordRefused,
    WrongCredentials,
    TooManyFailures,
    InvalidRefreshToken,
    RegistrationClosed,
    InvalidInvitation,
    UnverifiedEmail,
    WrongExpectedVersion,
)
"""Failures that a client should expect: they are data in the payload, not GraphQL errors."""


Idempotent = RegisterInput | CreateUserInput | UpdateUserInput | ChangeRoleInput | DeleteUserInput


class WithKey(Protocol):
    """An input with an idempotency key."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    idempotency_key: str | None


Input = strawberry.argument(description="The values of the mutation.")


async def register(info: Info, input: Annotated[RegisterInput, Input]) -> RegisterPayload:  # noqa: A002
    context = info.context
    sign_in, registration = context.services.sign_in, context.services.registration
    command = Register(
        username=input.username,
        email=input.email,
        name=input.name,
        attributes={} if input.attributes is None else input.attributes,
    )
    try:
        invitation = await registration.admit(context.address, input.invitation, input.proof_of_work)
        done = await sign_in.register(
            command,
            input.password,
            context.address,
            context.origin,
            idempotency_of(None, input),
            partial(registration.using, invitation),
        )
        if context.services.require_verified_email:  # the mail that is sent says the rest, and to its reader only
            return RegisterPayload()
        device = device_of(context.user_agent)
        signed_in = await sign_in.first_session(
            done, input.username, input.password, context.address, context.origin, device
        )
    except EXPECTED as error:
        if context.services.require_verified_email and _only_email_taken(error):
            await context.services.mails.email_taken(input.email, context.language)
            return RegisterPayload()
        return RegisterPayload(errors=errors_of(error))
    session = Session.of(signed_in) if signed_in else None
    return RegisterPayload(user=done.user, session=session, position=Position(done.position))


def _only_email_taken(error: Exception) -> bool:
    problems = error.problems if isinstance(error, Rejected) else ()
    return [(problem.reason, problem.field) for problem in problems] == [(Reason.TAKEN, ("email",))]


async def create_user(info: Info, input: Annotated[CreateUserInput, Input]) -> UserPayload:  # noqa: A002
    viewer = await info.context.allowed(Right.CREATE_USER)
    command = Register(
        username=input.username,
        email=input.email,
        name=input.name,
        role=input.role,
        attributes={} if input.attributes is None else input.attributes,
    )
    try:
        done = await info.context.services.sign_in.register(
            command, input.password, str(viewer.id), info.context.origin_of(viewer), idempotency_of(viewer, input)
        )
    except EXPECTED as error:
        return UserPayload(errors=errors_of(error))
    return UserPayload(user=done.user, position=Position(done.position))


async def create_invitation(
    info: Info,
    days: Annotated[int, strawberry.argument(description="Days for which it is valid, at most 365.")] = 7,
) -> InvitationPayload:
    await info.context.allowed(Right.CREATE_USER)
    if days not in INVITATION_DAYS:
        message = f"expected 1 to {INVITATION_DAYS[-1]} days, found {days}"
        return InvitationPayload(errors=[UserError(code=ErrorCode.INVALID, message=message, field=["days"])])
    invitation = info.context.services.registration.invitations.issue(timedelta(days=days))
    return InvitationPayload(invitation=invitation.text, expires_at=invitation.expires_at)


async def login(info: Info, input: Annotated[LoginInput, Input]) -> SessionPayload:  # noqa: A002
    context = info.context
    try:
        signed_in = await context.services.sign_in.log_in(
            input.login, input.password, context.address, context.origin, device_of(context.user_agent)
        )
    except EXPECTED as error:
        return SessionPayload(errors=errors_of(error))
    return SessionPayload(session=Session.of(signed_in), user=signed_in.user)


async def refresh_session(
    info: Info,
    refresh_token: Annotated[str, strawberry.argument(description="The newest refresh token.")],
) -> SessionPayload:
    try:
        signed_in = await info.context.services.sign_in.refresh(refresh_token, info.context.address)
    except EXPECTED as error:
        return SessionPayload(errors=errors_of(error))
    return SessionPayload(session=Session.of(signed_in), user=signed_in.user)


async def logout(
    info: Info,
    everywhere: Annotated[
        bool | None, strawberry.argument(description="Whether to end all of the user's sessions.")
    ] = False,
) -> LogoutPayload:
    session, sessions = await info.context.session(), info.context.services.sessions
    await (sessions.end_all(session.user_id) if everywhere else sessions.end(session.session_id))
    return LogoutPayload(logged_out=True)


async def update_user(info: Info, input: Annotated[UpdateUserInput, Input]) -> UserPayload:  # noqa: A002
    command = Update(username=input.username, email=input.email, name=input.name, attributes=input.attributes)
    return await _change(info, input, Right.CHANGE_ANY_USER, command)


async def change_password(info: Info, input: Annotated[ChangePasswordInput, Input]) -> UserPayload:  # noqa: A002
    context = info.context
    session = await context.session()
    try:
        done = await context.services.sign_in.change_password(
            session.user_id,
            session.session_id,
            input.current_password,
            input.new_password,
            context.address,
            Origin(actor=session.user_id, correlation=context.correlation),
        )
    except EXPECTED as error:
        return UserPayload(errors=errors_of(error, weak_at="newPassword", wrong_at="currentPassword"))
    return UserPayload(user=done.user, position=Position(done.position))


async def change_role(info: Info, input: Annotated[ChangeRoleInput, Input]) -> UserPayload:  # noqa: A002
    await info.context.allowed(Right.CHANGE_ROLE)
    return await _change(info, input, Right.CHANGE_ROLE, ChangeRole(input.role))


async def delete_user(info: Info, input: Annotated[DeleteUserInput, Input]) -> DeleteUserPayload:  # noqa: A002
    mail = await _farewell(info, input)
    payload = await _change(info, input, Right.CHANGE_ANY_USER, Delete())
    if payload.errors:
        await info.context.services.mails.withdraw(mail)
    deleted = None if payload.errors else strawberry.ID(str(user_id_of(input.id)))
    return DeleteUserPayload(deleted_user_id=deleted, position=payload.position, errors=payload.errors)


async def _farewell(info: Info, asked: DeleteUserInput) -> Mail | None:
    """Queue the mail about a deletion, before the user's address is erased with its key."""
    services, user_id = info.context.services, user_id_of(asked.id)
    if user_id is None or not services.mails.enabled:
        return None
    await info.context.allowed_on(user_id, Right.CHANGE_ANY_USER)
    user = (await services.commands.account(user_id)).user
    return await services.mails.deletion(user) if user else None


async def rebuild_projection(
    info: Info,
    name: Annotated[str, strawberry.argument(description="mysql_users or mongo_users.")],
    idempotency_key: Annotated[str | None, strawberry.argument(description=IDEMPOTENCY_KEY)] = None,
) -> RebuildPayload:
    """Record the request; a process of the program picks it up."""
    context = info.context
    viewer = await context.allowed(Right.REBUILD_PROJECTION)

    def refused(message: str, field: str, code: ErrorCode = ErrorCode.INVALID) -> RebuildPayload:
        return RebuildPayload(errors=[UserError(code=code, message=message, field=[field])])

    if name not in VIEWS:
        message = f"there is no such projection: expected {' or '.join(VIEWS)}"
        return refused(message, "name", ErrorCode.NOT_FOUND)
    if idempotency_key is not None and not 0 < len(idempotency_key) <= KEY_CHARACTERS:
        return refused(f"expected 1 to {KEY_CHARACTERS} characters", "idempotencyKey")
    try:
        await context.services.rebuilds.ask(name, viewer.id, context.correlation, idempotency_key)
    except KeyUsed as error:
        return refused(str(error), "idempotencyKey")
    except RebuildRunning as error:
        payload = refused(str(error), "name")
    else:
        log.info("rebuild.asked", view=name, by=str(viewer.id))
        payload = RebuildPayload()
    statuses = await context.services.status.read()
    payload.projection = next(Projection.of(status) for status in statuses if status.name == name)
    return payload


async def _change(
    info: Info, asked: UpdateUserInput | ChangeRoleInput | DeleteUserInput, right: Right, command: Command
) -> UserPayload:
    """Execute a command on the viewer, or on any user if the viewer has the right."""
    user_id = user_id_of(asked.id)
    viewer = await info.context.allowed_on(user_id, right)
    if user_id is None:
        return UserPayload(errors=[UserError.of(NO_SUCH_USER)])
    if isinstance(command, Update):  # everything else is for staff, or is a user's last
        await info.context.pay_for_write(viewer, size_of(command.attributes))
    services = info.context.services
    # Whoever may read any user learns nothing from TAKEN.
    probes = isinstance(command, Update) and (command.username is not None or command.email is not None)
    counted = probes and not may(viewer.role, Right.READ_ANY_USER)
    counting = services.sign_in.counting_taken(viewer.id, info.context.address) if counted else nullcontext()
    try:
        async with counting:
            done = await services.commands.change(
                user_id, command, info.context.origin_of(viewer), asked.expected_version, idempotency_of(viewer, asked)
            )
    except EXPECTED as error:
        return UserPayload(errors=errors_of(error))
    if isinstance(command, ChangeRole | Delete):  # the event has ended the user's sessions; this removes their rows
        await info.context.services.sign_in.forget_ended(user_id)
    return UserPayload(user=done.user, position=Position(done.position))


def size_of(attributes: JSON | None) -> int:
    """Bytes of attributes or content as compact JSON: all that can be large in a write."""
    try:
        return len(msgspec.json.encode(attributes))
    except RecursionError:  # refused later, with the number of levels that is allowed
        return CONTENT_BYTES


def idempotency_of(viewer: User | None, asked: WithKey) -> Idempotency | None:
    """Two requests are the same if caller, key and values are. Passwords are left out, since the log keeps a hash.

    Clients that are not signed in cannot be told apart, and may choose the same key. So each input has keys of its own.
    """
    if asked.idempotency_key is None:
        return None
    # A client that repeats a request sends another proof of work, and an invitation is a secret of its bearer.
    left_out = {"idempotency_key": None, "password": None, "proof_of_work": None, "invitation": None}
    given = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}  # `asdict` copies JSON
    values = {**given, **left_out, "mutation": type(asked).__name__}
    command = msgspec.json.encode(values, order="deterministic")
    caller = viewer.id if viewer else UUID(bytes=hashlib.sha256(command).digest()[:16])
    return Idempotency(caller, asked.idempotency_key, command)


def errors_of(error: Exception, *, weak_at: str = "password", wrong_at: str | None = None) -> list[UserError]:
    match error:
        case Rejected(problems=problems):
            return [UserError.of(problem) for problem in problems]
        case PasswordRefused(problems=problems):
            weak = UserError(code=ErrorCode.WEAK_PASSWORD, message=str(error), field=[weak_at])
            return [*map(UserError.of, problems), weak]
        case WrongCredentials():
            field = [wrong_at] if wrong_at else None
            return [UserError(code=ErrorCode.WRONG_CREDENTIALS, message=str(error), field=field)]
        case TooManyFailures():
            return [UserError(code=ErrorCode.LOCKED, message=str(error), retry_after=error.seconds)]
        case RegistrationClosed():
            return [UserError(code=ErrorCode.REGISTRATION_CLOSED, message=str(error))]
        case InvalidInvitation():
            return [UserError(code=ErrorCode.INVALID_INVITATION, message=str(error), field=["invitation"])]
        case UnverifiedEmail():
            return [UserError(code=ErrorCode.UNVERIFIED_EMAIL, message=str(error))]
        case InvalidRefreshToken():
            return [UserError(code=ErrorCode.INVALID_TOKEN, message=str(error), field=["refreshToken"])]
        case _:
            return [UserError(code=ErrorCode.STALE_VERSION, message="others keep changing this: try again")]


@strawberry.type(description="Write operations.")
class Mutation:
    register: RegisterPayload = strawberry.mutation(
        resolver=register,
        description="Open to anyone, unless the server requires an invitation or registers nobody; the new user is a "
        "CUSTOMER and is signed in. Where an email must be confirmed first, the answer is empty whether the email is "
        "taken or not, and a mail says the rest.",
    )
    create_user: UserPayload = strawberry.mutation(resolver=create_user, description="ADMIN only; any role.")
    create_invitation: InvitationPayload = strawberry.mutation(
        resolver=create_invitation, description="ADMIN only: an invitation, for servers that require one to register."
    )
    import_users: ImportPayload = strawberry.mutation(
        resolver=import_users, description="ADMIN only: by the rules and with the report of `rollcall import`."
    )
    login: SessionPayload = strawberry.mutation(resolver=login, description="Open to anyone; starts a session.")
    refresh_session: SessionPayload = strawberry.mutation(
        resolver=refresh_session, description="Open to anyone who has the token: the next tokens of its session."
    )
    logout: LogoutPayload = strawberry.mutation(
        resolver=logout, description="Ends this session, or all of the user's sessions."
    )
    end_session: LogoutPayload = strawberry.mutation(
        resolver=end_session, description="Ends one of one's own sessions; anyone's for ADMIN."
    )
    update_user: UserPayload = strawberry.mutation(resolver=update_user, description="Oneself, or anyone for ADMIN.")
    change_password: UserPayload = strawberry.mutation(
        resolver=change_password, description="Oneself; ends the user's other sessions."
    )
    change_role: UserPayload = strawberry.mutation(
        resolver=change_role, description="ADMIN only; ends the user's sessions."
    )
    delete_user: DeleteUserPayload = strawberry.mutation(
        resolver=delete_user,
        description="Oneself, or anyone for ADMIN. Erases the personal data in the log and in both views.",
    )
    rebuild_projection: RebuildPayload = strawberry.mutation(
        resolver=rebuild_projection,
        description="TECHNICAL_WORKER or ADMIN: rebuild a view from the log while it goes on serving.",
    )
    create_webhook: WebhookPayload = strawberry.mutation(
        resolver=create_webhook, description="ADMIN only: send changes to another service from now on."
    )
    update_webhook: WebhookPayload = strawberry.mutation(
        resolver=update_webhook, description="ADMIN only: change, disable or enable a webhook, or replace its secret."
    )
    delete_webhook: WebhookPayload = strawberry.mutation(
        resolver=delete_webhook, description="ADMIN only; its deliveries are deleted too."
    )
    redeliver: WebhookPayload = strawberry.mutation(
        resolver=redeliver, description="ADMIN only: send a delivery again, with the same id."
    )
