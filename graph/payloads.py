"""Inputs and payloads of mutations. Expected failures are data, so that a form can show them at its fields."""

from datetime import datetime
from enum import Enum
from typing import Self

import strawberry
from strawberry.scalars import JSON

from auth.sign_in import SignedIn
from events.errors import Problem
from events.user import User
from graph.scalars import Position, Role
from graph.types import Projection, UserType


@strawberry.enum(description="Why something was refused.")
class ErrorCode(Enum):
    """A superset of `events.errors.Reason`."""

    INVALID = strawberry.enum_value("INVALID", description="The value cannot be accepted; message says why.")
    TAKEN = strawberry.enum_value("TAKEN", description="The username or email belongs to someone else.")
    WEAK_PASSWORD = strawberry.enum_value("WEAK_PASSWORD", description="Choose a better password; message says why.")
    WRONG_CREDENTIALS = strawberry.enum_value(
        "WRONG_CREDENTIALS", description="The same answer whether the account exists or not."
    )
    LOCKED = strawberry.enum_value("LOCKED", description="Too many failures; message says when to try again.")
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="There is no such user.")
    STALE_VERSION = strawberry.enum_value("STALE_VERSION", description="expectedVersion is not the current version.")
    INVALID_TOKEN = strawberry.enum_value(
        "INVALID_TOKEN", description="A refresh token that is unknown, expired, revoked or already used."
    )


@strawberry.type(description="Something the client can show at a form field.")
class UserError:
    code: ErrorCode = strawberry.field(description="The kind of problem.")
    message: str = strawberry.field(description="For a person to read.")
    field: list[str] | None = strawberry.field(description='Path into the input, such as ["email"].', default=None)

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


USERNAME = "1 to 64 letters, digits and punctuation, without @ and spaces."
EMAIL = "An email address."
NAME = "1 to 200 characters of any script."
NEW_PASSWORD = "At least 8 characters."  # noqa: S105 - a description
ATTRIBUTES = "Free-form data: a JSON object of at most 64 KiB, 32 levels deep."
EXPECTED_VERSION = "Refuse with STALE_VERSION unless the user is at this version."
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


ERRORS = "Why nothing was done; empty on success."
POSITION = "Of the last event that this caused; a view that has reached it shows the change."


@strawberry.type(description="The new user and its session, or errors.")
class RegisterPayload:
    user: User | None = strawberry.field(default=None, graphql_type=UserType | None, description="The new user.")
    session: Session | None = strawberry.field(default=None, description="The new user is signed in.")
    position: Position | None = strawberry.field(default=None, description=POSITION)
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
    logged_out: bool = strawberry.field(description="True: its tokens are refused from now on.")


@strawberry.type(description="The projection as it is now, or errors.")
class RebuildPayload:
    projection: Projection | None = strawberry.field(
        default=None, description="REBUILDING from now on until it is done; `projectionStatus` shows its progress."
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)
