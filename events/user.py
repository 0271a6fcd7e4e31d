"""The User aggregate as a decider: `decide` returns the events of a command, `evolve` the user after an event.

Both are pure, and all rules of a user's life are here and in `events/rules.py`.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from typing import Any, Final
from uuid import UUID

import msgspec

from events import rules
from events.errors import DamagedEvent, Problem, Reason, Rejected
from events.event_types import (
    JSON,
    Damaged,
    EmailVerified,
    Event,
    Forgotten,
    PasswordChanged,
    Recorded,
    Role,
    RoleChanged,
    UserDeleted,
    UserRegistered,
    UserUpdated,
)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user as views and answers show it, without the password's hash."""

    id: UUID
    username: str
    email: str
    name: str
    role: Role
    attributes: dict[str, JSON]
    version: int
    """Number of the user's events."""
    position: int
    """Position of the last of them."""
    created_at: datetime
    updated_at: datetime


class Account(msgspec.Struct, frozen=True):
    """The state that commands are decided on: the user, and what sign-in needs. It has no password's hash."""

    version: int = 0
    user: User | None = None
    """None before the registration and after the deletion."""
    signed_out_at: int = 0
    """Version of the last event that ended the user's sessions: those that began before it are invalid."""
    password_version: int = 0
    """Version of the event that holds the password's hash; 0 if the user has no password."""
    email_verified: bool = False
    """The user had a link that was mailed to the present email."""


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Register a user. Without a password hash it cannot sign in until one is set."""

    username: str
    email: str
    name: str
    role: Role = Role.CUSTOMER
    attributes: JSON = msgspec.field(default_factory=dict)
    password_hash: str | None = None
    verified: bool = False
    """Whether the user has proved to read the mail of this email."""
    imported: bool = False
    """The user comes from another system."""
    created_at: datetime | None = None
    """When an imported user came to be there."""


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """Set the fields that are not None. `attributes` is a merge patch (RFC 7396)."""

    username: str | None = None
    email: str | None = None
    name: str | None = None
    attributes: JSON = None


class ChangePassword(msgspec.Struct, frozen=True, kw_only=True):
    """Set the password's hash, if the hash that was checked is still the current one."""

    password_hash: str
    replaces: int
    """Version of the event with the hash that the old password was checked against; 0 if the user had none."""
    rehashed: bool = False
    """The password is the same, hashed with better parameters."""
    verifies: str | None = None
    """The email to which the link was mailed that allows the change: refused if the user has another one by now."""


class VerifyEmail(msgspec.Struct, frozen=True):
    """Verify the user's email, if it is still this one."""

    email: str


class ConfirmEmail(msgspec.Struct, frozen=True):
    """Give the user the email to which a link was mailed, if the user still has the one that it replaces."""

    email: str
    replaces: str


class ChangeRole(msgspec.Struct, frozen=True):
    """Give the user another role."""

    role: Role


class Delete(msgspec.Struct, frozen=True):
    """Delete the user."""


CHANGED_EMAIL: Final = Problem(Reason.STALE_VERSION, "the email was changed meanwhile: ask for a new link", ())
NO_SUCH_USER: Final = Problem(Reason.NOT_FOUND, "there is no such user", ("id",))

Command = Register | Update | ChangePassword | VerifyEmail | ConfirmEmail | ChangeRole | Delete


def decide(account: Account, command: Command) -> tuple[Event, ...]:
    """The events that the command causes; none if it would change nothing.

    Raises:
        Rejected: the command is refused; with all its problems.
    """
    if isinstance(command, Register):
        return (registration(command), EmailVerified()) if command.verified else (registration(command),)
    user = existing(account)
    match command:
        case Update():
            return _update(user, command)
        case ChangePassword():
            return _password_change(account, user, command)
        case VerifyEmail(email):
            return _verification(account, user, email)
        case ConfirmEmail(email, replaces):
            if replaces != user.email:
                raise Rejected(CHANGED_EMAIL)
            return (*_update(user, Update(email=email)), EmailVerified())
        case ChangeRole(role):
            return () if role == user.role else (RoleChanged(role),)
        case Delete():
            return (UserDeleted(),)


def evolve(user: User | None, recorded: Recorded) -> User | None:
    """The user after one more of its events; None once deleted.

    Raises:
        DamagedEvent: the event cannot be read, or its user is not registered.
    """
    match recorded.event:
        case Damaged(reason):
            raise DamagedEvent(recorded.position, reason)
        case Forgotten() | UserDeleted():
            return None
        case UserRegistered() as event:
            return _registered(event, recorded)
        case _ if user is None:
            raise DamagedEvent(recorded.position, f"{recorded.type} of a user that is not registered")
        case UserUpdated() as event:
            return _updated(user, event, recorded)
        case RoleChanged(role):
            return _moved(user, recorded, role=role)
        case _:
            return _moved(user, recorded)


def evolve_account(account: Account, recorded: Recorded) -> Account:
    """The account after one more event of its stream."""
    user = evolve(account.user, recorded)
    version, verified = recorded.version, account.email_verified
    match recorded.event:
        case PasswordChanged(rehashed=True):
            return Account(version, user, account.signed_out_at, version, verified)
        case UserRegistered() | PasswordChanged():
            password_version = version if "password" in recorded.fields else 0
            return Account(version, user, version, password_version, verified)
        case UserDeleted() | Forgotten():
            return Account(version, signed_out_at=version)
        case RoleChanged():
            return Account(version, user, version, account.password_version, verified)
        case EmailVerified():
            verified = True
        case UserUpdated(email=str()):
            verified = False
    return Account(version, user, account.signed_out_at, account.password_version, verified)


def account_of(stream: Iterable[Recorded]) -> Account:
    """The account after a whole stream."""
    return reduce(evolve_account, stream, Account())


def existing(account: Account) -> User:
    """The account's user.

    Raises:
        Rejected: it never existed or is deleted.
    """
    if account.user is None:
        raise Rejected(NO_SUCH_USER)
    return account.user


def registration(command: Register) -> UserRegistered:
    """The event of a registration.

    Raises:
        Rejected: a value is invalid; with all problems.
    """
    username, email, name, attributes = rules.all_of(
        lambda: rules.clean_username(command.username),
        lambda: rules.clean_email(command.email),
        lambda: rules.clean_name(command.name),
        lambda: rules.clean_attributes(command.attributes),
    )
    return UserRegistered(
        username=username,
        email=email,
        name=name,
        role=command.role,
        attributes=attributes,
        password_hash=command.password_hash,
        imported=command.imported,
        created_at=command.created_at,
    )


def _update(user: User, command: Update) -> tuple[UserUpdated, ...]:
    username, email, name, patch = rules.all_of(
        lambda: rules.changed(user.username, command.username, rules.clean_username),
        lambda: rules.changed(user.email, command.email, rules.clean_email),
        lambda: rules.changed(user.name, command.name, rules.clean_name),
        lambda: _changing_patch(user.attributes, command.attributes),
    )
    event = UserUpdated(username=username, email=email, name=name, attributes=patch)
    return (event,) if event.changed_fields() else ()


def _password_change(account: Account, user: User, command: ChangePassword) -> tuple[Event, ...]:
    if command.replaces != account.password_version:
        problem = Problem(Reason.STALE_VERSION, "the password was changed meanwhile: try again", ())
        raise Rejected(problem)
    verification = () if command.verifies is None else _verification(account, user, command.verifies)
    return (PasswordChanged(command.password_hash, command.rehashed), *verification)


def _verification(account: Account, user: User, email: str) -> tuple[EmailVerified, ...]:
    if email != user.email:
        raise Rejected(CHANGED_EMAIL)
    return () if account.email_verified else (EmailVerified(),)


def _changing_patch(current: dict[str, JSON], patch: JSON) -> dict[str, JSON] | None:
    if patch is None:
        return None
    cleaned = rules.clean_attributes(patch)
    merged = rules.clean_attributes(rules.merge_patch(current, cleaned))
    return None if rules.canonical(merged) == rules.canonical(current) else cleaned


def _registered(event: UserRegistered, recorded: Recorded) -> User:
    return User(
        id=recorded.stream_id,
        username=event.username,
        email=event.email,
        name=event.name,
        role=event.role,
        attributes=event.attributes,
        version=recorded.version,
        position=recorded.position,
        created_at=event.created_at or recorded.recorded_at,
        updated_at=recorded.recorded_at,
    )


def _updated(user: User, event: UserUpdated, recorded: Recorded) -> User:
    return _moved(
        user,
        recorded,
        username=user.username if event.username is None else event.username,
        email=user.email if event.email is None else event.email,
        name=user.name if event.name is None else event.name,
        attributes=(
            user.attributes if event.attributes is None else rules.merge_patch(user.attributes, event.attributes)
        ),
    )


def _moved(user: User, recorded: Recorded, **fields: Any) -> User:
    return msgspec.structs.replace(
        user, version=recorded.version, position=recorded.position, updated_at=recorded.recorded_at, **fields
    )
