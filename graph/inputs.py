"""The inputs of mutations of users, and what a command and its idempotency key make of them."""

import dataclasses
import hashlib
from typing import Any, ClassVar, Protocol
from uuid import UUID

import msgspec
import strawberry
from strawberry.scalars import JSON

from events.idempotency import Idempotency
from events.rules import CONTENT_BYTES
from events.user import Register, Update, User
from graph.scalars import Role

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


@strawberry.input(description="A new user of any role, who gets a mail and chooses a password by its link.")
class InviteUserInput:
    username: str = strawberry.field(description=USERNAME)
    email: str = strawberry.field(description=EMAIL)
    name: str = strawberry.field(description=NAME)
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


Idempotent = RegisterInput | CreateUserInput | InviteUserInput | UpdateUserInput | ChangeRoleInput | DeleteUserInput


class WithKey(Protocol):
    """An input with an idempotency key."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    idempotency_key: str | None


Input = strawberry.argument(description="The values of the mutation.")


def registration_of(given: RegisterInput | CreateUserInput | InviteUserInput) -> Register:
    """The command that registers the user; a CUSTOMER if the input has no role."""
    return Register(
        username=given.username,
        email=given.email,
        name=given.name,
        role=Role.CUSTOMER if isinstance(given, RegisterInput) else given.role,
        attributes={} if given.attributes is None else given.attributes,
    )


def update_of(given: UpdateUserInput) -> Update:
    """The command that changes the user."""
    return Update(username=given.username, email=given.email, name=given.name, attributes=given.attributes)


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
