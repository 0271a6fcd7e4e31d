"""Mutations. Resolvers are thin: check, command, shape."""

import dataclasses
from typing import Annotated

import msgspec
import strawberry

from events.commands import Done
from events.errors import Problem, Reason, Rejected, WrongExpectedVersion
from events.idempotency import Idempotency
from events.user import ChangeRole, Command, Delete, Register, Update, User
from graph import types
from graph.auth.permissions import Right
from graph.auth.signin import PasswordRefused, WrongCredentials
from graph.context import Info
from graph.payloads import (
    ChangePasswordInput,
    ChangeRoleInput,
    CreateUserInput,
    DeleteUserInput,
    DeleteUserPayload,
    ErrorCode,
    LoginInput,
    RegisterInput,
    RegisterPayload,
    Session,
    SessionPayload,
    UpdateUserInput,
    UserError,
    UserPayload,
)
from graph.queries import user_id_of
from graph.scalars import Position

EXPECTED = (Rejected, PasswordRefused, WrongCredentials, WrongExpectedVersion)
"""What can be refused to a client in the ordinary course of things: shown as data, not as a GraphQL error."""

Idempotent = RegisterInput | CreateUserInput | UpdateUserInput | ChangeRoleInput | DeleteUserInput

Input = strawberry.argument(description="What to do.")


async def register(info: Info, input: Annotated[RegisterInput, Input]) -> RegisterPayload:  # noqa: A002
    sign_in = info.context.services.sign_in
    command = Register(
        username=input.username, email=input.email, name=input.name, attributes=_or_empty(input.attributes)
    )
    try:
        done = await sign_in.register(command, input.password, info.context.origin, _idempotency(None, input))
    except EXPECTED as error:
        return RegisterPayload(errors=_errors(error))
    session = Session.of(sign_in.start_session(done.user).token) if done.user else None
    return RegisterPayload(user=_user(done), session=session, position=Position(done.position))


async def create_user(info: Info, input: Annotated[CreateUserInput, Input]) -> UserPayload:  # noqa: A002
    viewer = await info.context.allowed(Right.CREATE_USER)
    command = Register(
        username=input.username,
        email=input.email,
        name=input.name,
        role=input.role,
        attributes=_or_empty(input.attributes),
    )
    try:
        done = await info.context.services.sign_in.register(
            command, input.password, info.context.origin_of(viewer), _idempotency(viewer, input)
        )
    except EXPECTED as error:
        return UserPayload(errors=_errors(error))
    return UserPayload(user=_user(done), position=Position(done.position))


async def login(info: Info, input: Annotated[LoginInput, Input]) -> SessionPayload:  # noqa: A002
    try:
        signed_in = await info.context.services.sign_in.log_in(input.login, input.password, info.context.origin)
    except EXPECTED as error:
        return SessionPayload(errors=_errors(error))
    return SessionPayload(session=Session.of(signed_in.token), user=types.User.of(signed_in.user))


async def update_user(info: Info, input: Annotated[UpdateUserInput, Input]) -> UserPayload:  # noqa: A002
    command = Update(username=input.username, email=input.email, name=input.name, attributes=input.attributes)
    return await _change(info, input, Right.CHANGE_ANY_USER, command)


async def change_password(info: Info, input: Annotated[ChangePasswordInput, Input]) -> UserPayload:  # noqa: A002
    viewer = await info.context.signed_in()
    try:
        done = await info.context.services.sign_in.change_password(
            viewer.id, input.current_password, input.new_password, info.context.origin_of(viewer)
        )
    except EXPECTED as error:
        return UserPayload(errors=_errors(error, weak_at="newPassword", wrong_at="currentPassword"))
    return UserPayload(user=_user(done), position=Position(done.position))


async def change_role(info: Info, input: Annotated[ChangeRoleInput, Input]) -> UserPayload:  # noqa: A002
    await info.context.allowed(Right.CHANGE_ROLE)
    return await _change(info, input, Right.CHANGE_ROLE, ChangeRole(input.role))


async def delete_user(info: Info, input: Annotated[DeleteUserInput, Input]) -> DeleteUserPayload:  # noqa: A002
    payload = await _change(info, input, Right.CHANGE_ANY_USER, Delete())
    deleted = None if payload.errors else strawberry.ID(str(user_id_of(input.id)))
    return DeleteUserPayload(deleted_user_id=deleted, position=payload.position, errors=payload.errors)


async def _change(
    info: Info, asked: UpdateUserInput | ChangeRoleInput | DeleteUserInput, right: Right, command: Command
) -> UserPayload:
    """Carry out a command on oneself, or with the right on anyone."""
    user_id = user_id_of(asked.id)
    viewer = await info.context.allowed_on(user_id, right)
    if user_id is None:
        return UserPayload(errors=[UserError.of(_no_such_user())])
    try:
        done = await info.context.services.commands.change(
            user_id, command, info.context.origin_of(viewer), asked.expected_version, _idempotency(viewer, asked)
        )
    except EXPECTED as error:
        return UserPayload(errors=_errors(error))
    return UserPayload(user=_user(done), position=Position(done.position))


def _idempotency(viewer: User | None, asked: Idempotent) -> Idempotency | None:
    """What makes this request the same as another one: who asks, with which key, for what."""
    if asked.idempotency_key is None:
        return None
    what = {**dataclasses.asdict(asked), "idempotency_key": None, "mutation": type(asked).__name__}
    caller = viewer.id if viewer else None
    return Idempotency(caller, asked.idempotency_key, msgspec.json.encode(what, order="deterministic"))


def _errors(error: Exception, *, weak_at: str = "password", wrong_at: str | None = None) -> list[UserError]:
    match error:
        case Rejected(problems=problems):
            return [UserError.of(problem) for problem in problems]
        case PasswordRefused(problems=problems):
            weak = UserError(code=ErrorCode.WEAK_PASSWORD, message=str(error), field=[weak_at])
            return [*map(UserError.of, problems), weak]
        case WrongCredentials():
            field = [wrong_at] if wrong_at else None
            return [UserError(code=ErrorCode.WRONG_CREDENTIALS, message=str(error), field=field)]
        case _:
            return [UserError(code=ErrorCode.STALE_VERSION, message="others keep changing this user: try again")]


def _user(done: Done) -> types.User | None:
    return types.User.of(done.user) if done.user else None


def _or_empty(attributes: object) -> object:
    return {} if attributes is None else attributes


def _no_such_user() -> Problem:
    return Problem(Reason.NOT_FOUND, "there is no such user", ("id",))


@strawberry.type(description="What can be done.")
class Mutation:
    register: RegisterPayload = strawberry.mutation(
        resolver=register, description="Open to anyone; the new user is a CUSTOMER and is signed in."
    )
    create_user: UserPayload = strawberry.mutation(resolver=create_user, description="ADMIN only; any role.")
    login: SessionPayload = strawberry.mutation(resolver=login, description="Open to anyone; starts a session.")
    update_user: UserPayload = strawberry.mutation(resolver=update_user, description="Oneself, or anyone for ADMIN.")
    change_password: UserPayload = strawberry.mutation(resolver=change_password, description="Oneself.")
    change_role: UserPayload = strawberry.mutation(resolver=change_role, description="ADMIN only.")
    delete_user: DeleteUserPayload = strawberry.mutation(
        resolver=delete_user, description="Oneself, or anyone for ADMIN. The user is gone from both views."
    )
