"""Mutations and their inputs."""

import asyncio
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Annotated, Final
from uuid import UUID

import msgspec
import strawberry
import structlog

from auth.permissions import Right, may
from auth.registration import INVITATION_DAYS, InvalidInvitation, RegistrationClosed
from auth.sessions import InvalidRefreshToken
from auth.sign_in import PasswordRefused, UnverifiedEmail, WrongCredentials
from auth.throttle import TooManyFailures
from events.errors import Rejected, WrongExpectedVersion
from events.event_types import Origin, Role
from events.idempotency import KEY_CHARACTERS
from events.outbox import Mail
from events.rules import clean_email, same_email
from events.tracing import trace
from events.user import NO_SUCH_USER, ChangeRole, Command, Delete, Update, User
from graph.context import Context, Info
from graph.errors import bad_input
from graph.imports import ImportPayload, import_users
from graph.inputs import (
    IDEMPOTENCY_KEY,
    ChangePasswordInput,
    ChangeRoleInput,
    CreateUserInput,
    DeleteUserInput,
    Input,
    LoginInput,
    RegisterInput,
    UpdateUserInput,
    idempotency_of,
    registration_of,
    size_of,
    update_of,
)
from graph.limits import LARGEST_PAGE
from graph.projection_types import Projection
from graph.scalars import Position, user_id_of
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


async def register(info: Info, input: Annotated[RegisterInput, Input]) -> RegisterPayload:  # noqa: A002
    context = info.context
    sign_in, registration = context.services.sign_in, context.services.registration
    command = registration_of(input)
    try:
        invitation = await registration.admit(context.address, input.invitation, input.proof_of_work)
        admission = partial(registration.using, invitation)
        if context.services.require_verified_email:  # the mail says the rest, and to its reader only
            await context.services.pending.register(
                command, input.password, context.address, idempotency_of(None, input), context.language, admission
            )
            return RegisterPayload()
        done = await sign_in.register(
            command,
            input.password,
            context.address,
            context.origin,
            idempotency_of(None, input),
            admission,
        )
        signed_in = await sign_in.first_session(done, input.username, input.password, context.client, context.origin)
    except EXPECTED as error:
        return RegisterPayload(errors=errors_of(error))
    session = Session.of(signed_in) if signed_in else None
    return RegisterPayload(user=done.user, session=session, position=Position(done.position))


async def create_user(info: Info, input: Annotated[CreateUserInput, Input]) -> UserPayload:  # noqa: A002
    viewer = await info.context.allowed(Right.CREATE_USER)
    command = registration_of(input)
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
        signed_in = await context.services.sign_in.log_in(input.login, input.password, context.client, context.origin)
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
    return await _change(info, input, Right.CHANGE_ANY_USER, update_of(input))


async def update_users(
    info: Info,
    input: Annotated[  # noqa: A002
        list[UpdateUserInput], strawberry.argument(description="At most 100 changes, each with an outcome of its own.")
    ],
) -> list[UserPayload]:
    context = info.context
    if len(input) > LARGEST_PAGE:
        raise bad_input(f"input: at most {LARGEST_PAGE} changes, found {len(input)}")
    # What refuses the whole request refuses it before anything is written.
    viewer = await context.signed_in()
    for one in input:
        await context.allowed_on(user_id_of(one.id), Right.CHANGE_ANY_USER)
    for one in input:
        await _pay(context, viewer, update_of(one))
    # They run at once and share transactions; those of one user keep their order. All end, also if one fails, so that
    # no write goes on after the answer.
    changes = [_carry_out(info, viewer, user_id_of(one.id), one, update_of(one)) for one in input]
    done = await asyncio.gather(*changes, return_exceptions=True)
    if failed := next((outcome for outcome in done if isinstance(outcome, BaseException)), None):
        raise failed
    return [outcome for outcome in done if isinstance(outcome, UserPayload)]


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
            Origin(actor=session.user_id, correlation=context.correlation, trace=trace()),
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
    return await services.mails.deletion(user, info.context.language) if user else None


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
    if isinstance(command, Update):  # everything else is for staff, or is a user's last
        await _pay(info.context, viewer, command)
    return await _carry_out(info, viewer, user_id, asked, command)


async def _pay(context: Context, viewer: User, command: Update) -> None:
    """Take a change of a user out of the quotas of the viewer, who changes only itself unless it is an ADMIN.

    Raises:
        BudgetSpent: RATE_LIMITED; a quota is used up.
    """
    await context.pay_for_write(viewer, size_of(command.attributes))
    if viewer.role is not Role.ADMIN and command.email not in (None, viewer.email):
        await context.services.mails.pay_for_email_change(viewer, context.address)


async def _carry_out(
    info: Info,
    viewer: User,
    user_id: UUID | None,
    asked: UpdateUserInput | ChangeRoleInput | DeleteUserInput,
    command: Command,
) -> UserPayload:
    """Execute a command of a viewer who may, and has paid for it."""
    if user_id is None:
        return UserPayload(errors=[UserError.of(NO_SUCH_USER)])
    services = info.context.services
    new_email = None
    if isinstance(command, Update) and services.require_verified_email and viewer.id == user_id:
        new_email = _to_be_confirmed(viewer, command.email)
        command = command if new_email is None else msgspec.structs.replace(command, email=None)
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
    if new_email is not None:
        await services.mails.email_change(viewer, new_email, info.context.language)
    if isinstance(command, ChangeRole | Delete):  # the event has ended the user's sessions; this removes their rows
        await info.context.services.sign_in.forget_ended(user_id)
    return UserPayload(user=done.user, position=Position(done.position))


def _to_be_confirmed(viewer: User, email: str | None) -> str | None:
    """The new email of a viewer that waits until its mail is confirmed; None if the change does not wait.

    An answer that said TAKEN would tell who has an account. An ADMIN sees that anyway.
    """
    if email is None or viewer.role is Role.ADMIN:
        return None
    try:
        cleaned = clean_email(email)
    except Rejected:  # the command is refused, with all its problems
        return None
    return cleaned if same_email(cleaned) != same_email(viewer.email) else None


def errors_of(error: Exception, *, weak_at: str = "password", wrong_at: str | None = None) -> list[UserError]:
    match error:
        case Rejected(problems=problems):
            return [UserError.of(problem) for problem in problems]
        case PasswordRefused(problems=problems):
            weak = UserError(code=ErrorCode.WEAK_PASSWORD, message=str(error), field=[weak_at])
            return [*map(UserError.of, problems), weak]
        case WrongCredentials():
            message, field = ("wrong password", [wrong_at]) if wrong_at else (str(error), None)
            return [UserError(code=ErrorCode.WRONG_CREDENTIALS, message=message, field=field)]
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
        "taken or not, and a mail says the rest: the user exists once `verifyEmail` got the token of the mail.",
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
    update_user: UserPayload = strawberry.mutation(
        resolver=update_user,
        description="Oneself, or anyone for ADMIN. Where an email must be confirmed, a new email of one's own is in "
        "force once `verifyEmail` got the token of its mail, and the answer does not tell whether it is taken.",
    )
    update_users: list[UserPayload] = strawberry.mutation(
        resolver=update_users,
        description=(
            "Several changes, of oneself or of anyone for ADMIN, with an outcome for each in their order. One that is\n"
            "refused affects no other. If the request fails as a whole, send it again with the same idempotency keys."
        ),
    )
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
