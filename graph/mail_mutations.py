"""Mutations that cause mails, and those that links in mails lead to."""

from collections.abc import Awaitable
from typing import Annotated

import strawberry

from auth.mail_requests import NoMail
from auth.mailed_links import InvalidLink
from auth.permissions import Right
from events.errors import Rejected
from graph.context import Info
from graph.data_types import ERRORS
from graph.inputs import NEW_PASSWORD, Input, InviteUserInput, idempotency_of, registration_of
from graph.mutations import EXPECTED, errors_of
from graph.scalars import Position
from graph.types import ErrorCode, Session, SessionPayload, UserError, UserPayload

Token = Annotated[str, strawberry.argument(description="The token in the link of the mail.")]


@strawberry.type(description="Whether a request was taken, or errors.")
class RequestPayload:
    accepted: bool = strawberry.field(description="Whether it was taken: the same with and without an account.")
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


async def request_password_reset(
    info: Info, login: Annotated[str, strawberry.argument(description="Username or email.")]
) -> RequestPayload:
    context = info.context
    return await _requested(context.services.mails.password_reset(login, context.address, context.language))


async def request_email_verification(info: Info) -> RequestPayload:
    context = info.context
    viewer = await context.signed_in()
    if (await context.services.commands.account(viewer.id)).email_verified:
        message = "your email is confirmed already"
        return RequestPayload(accepted=False, errors=[UserError(code=ErrorCode.INVALID, message=message)])
    return await _requested(context.services.mails.verification(viewer, context.address, context.language))


async def reset_password(
    info: Info,
    token: Token,
    new_password: Annotated[str, strawberry.argument(description=NEW_PASSWORD)],
) -> SessionPayload:
    context = info.context
    recovery = context.services.recovery
    try:
        signed_in = await recovery.reset_password(token, new_password, context.client, context.origin)
    except (InvalidLink, *EXPECTED) as error:
        return SessionPayload(errors=_errors_of(error))
    return SessionPayload(session=Session.of(signed_in), user=signed_in.user)


async def verify_email(info: Info, token: Token) -> UserPayload:
    context = info.context
    try:
        done = await context.services.recovery.verify_email(token, context.address, context.origin)
    except (InvalidLink, *EXPECTED) as error:
        return UserPayload(errors=_errors_of(error))
    return UserPayload(user=done.user, position=Position(done.position))


async def invite_user(info: Info, input: Annotated[InviteUserInput, Input]) -> UserPayload:  # noqa: A002
    context = info.context
    viewer = await context.allowed(Right.CREATE_USER)
    command = registration_of(input)
    try:
        context.services.mails.check_enabled()
        done = await context.services.commands.register(
            command, context.origin_of(viewer), idempotency_of(viewer, input)
        )
    except (NoMail, *EXPECTED) as error:
        return UserPayload(errors=_errors_of(error))
    return UserPayload(user=done.user, position=Position(done.position))


async def _requested(request: Awaitable[None]) -> RequestPayload:
    try:
        await request
    except (NoMail, Rejected) as error:
        return RequestPayload(accepted=False, errors=_errors_of(error))
    return RequestPayload(accepted=True)


def _errors_of(error: Exception) -> list[UserError]:
    match error:
        case InvalidLink():
            return [UserError(code=ErrorCode.INVALID_TOKEN, message=str(error), field=["token"])]
        case NoMail():
            return [UserError(code=ErrorCode.INVALID, message=str(error))]
        case _:
            return errors_of(error, weak_at="newPassword")


@strawberry.type(name="Mutation")
class MailMutation:
    request_password_reset: RequestPayload = strawberry.mutation(
        resolver=request_password_reset,
        description="Open to anyone: mails a link that sets a new password. The same answer whether the account "
        "exists or not.",
    )
    reset_password: SessionPayload = strawberry.mutation(
        resolver=reset_password,
        description="Open to anyone who has the token of a mail, also that of an invitation; ends the user's other "
        "sessions and starts one.",
    )
    request_email_verification: RequestPayload = strawberry.mutation(
        resolver=request_email_verification, description="Mails the viewer a link that confirms the email."
    )
    verify_email: UserPayload = strawberry.mutation(
        resolver=verify_email,
        description="Open to anyone who has the token of a mail. Registers the user whose registration waits for it, "
        "or gives the user the email that waits for it.",
    )
    invite_user: UserPayload = strawberry.mutation(
        resolver=invite_user, description="ADMIN only: a user of any role, who chooses a password by a mailed link."
    )
