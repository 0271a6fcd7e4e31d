"""What the log must do, and what callers must be told, in plain memory.

Nothing here knows a transaction, a lock or a batch. Commands come one after the other, in the order of their events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from uuid import UUID

from events.commands import CommandResult
from events.errors import DatabaseUnavailable, Rejected
from events.event_types import Role
from events.user import ChangeRole, Command, Delete, Register, Update, User


@dataclass(frozen=True)
class Person:
    """A user."""

    username: str
    email: str
    name: str
    role: Role
    version: int = 1

    def claims(self, user_id: UUID) -> set[tuple[str, str]]:
        """What nobody else may have; the values in the form in which two are the same. The tests write ASCII only."""
        seat = {("admin", str(user_id))} if self.role is Role.ADMIN else set()
        return {("username", self.username.lower()), ("email", self.email.lower())} | seat


@dataclass(frozen=True)
class Sent:
    """A command that was sent."""

    number: int
    """The correlation of its event, so the log says what came of it."""
    command: Command
    user_id: UUID | None = None
    """None for registrations."""
    expected: int | None = None
    key: str | None = None

    @property
    def fingerprint(self) -> bytes:
        """What makes another command of it."""
        return repr((self.command, self.user_id, self.expected)).encode()


@dataclass(frozen=True)
class Refused:
    """The command is refused, with the fields that are named."""

    fields: tuple[str, ...]


@dataclass(frozen=True)
class Repeated:
    """The command was here before, and led to this."""

    user_id: UUID
    position: int
    then: Person | None


@dataclass(frozen=True)
class Idle:
    """There is nothing to do."""


@dataclass(frozen=True)
class Accepted:
    """The command takes effect, and this becomes of the user."""

    then: Person | None


Verdict = Refused | Repeated | Idle | Accepted


@dataclass(frozen=True)
class World:
    """All that is."""

    people: dict[UUID, Person] = field(default_factory=dict)
    gone: dict[UUID, int] = field(default_factory=dict)
    """Versions of those who were deleted."""
    requests: dict[str, tuple[bytes, Repeated]] = field(default_factory=dict)

    @property
    def ids(self) -> list[UUID]:
        """Of all users that ever were."""
        return sorted([*self.people, *self.gone])

    def version(self, user_id: UUID) -> int:
        """How many events the user has had."""
        return self.people[user_id].version if user_id in self.people else self.gone[user_id]

    def claims(self) -> dict[tuple[str, str], UUID]:
        """Everything that somebody has to itself."""
        return {claim: user_id for user_id, person in self.people.items() for claim in person.claims(user_id)}

    def verdict(self, sent: Sent) -> Verdict:
        """What must become of a command that comes now."""
        if sent.key in self.requests:
            fingerprint, repeated = self.requests[sent.key]
            return repeated if fingerprint == sent.fingerprint else Refused(("idempotencyKey",))
        if isinstance(sent.command, Register):
            command = sent.command
            return self._unless_taken(None, Person(command.username, command.email, command.name, command.role))
        person = self.people.get(sent.user_id) if sent.user_id else None
        if person is None:
            return Refused(("id",))
        if sent.expected not in {None, person.version}:
            return Refused(("expectedVersion",))
        return self._changed(sent, person)

    def _changed(self, sent: Sent, before: Person) -> Verdict:
        then = replace(_then(before, sent.command), version=before.version + 1)
        if isinstance(sent.command, Delete):
            return self._unless_last_admin(before, Accepted(None))
        if replace(then, version=before.version) == before:
            return Idle()
        if then.role is not Role.ADMIN:
            return self._unless_last_admin(before, self._unless_taken(sent.user_id, then))
        return self._unless_taken(sent.user_id, then)

    def _unless_last_admin(self, before: Person, otherwise: Verdict) -> Verdict:
        admins = sum(person.role is Role.ADMIN for person in self.people.values())
        return Refused(("id",)) if before.role is Role.ADMIN and admins == 1 else otherwise

    def _unless_taken(self, user_id: UUID | None, then: Person) -> Verdict:
        others = [person.claims(other) for other, person in self.people.items() if other != user_id]
        taken = reduce(or_, others, set[tuple[str, str]]()) & then.claims(user_id or UUID(int=0))
        return Refused((max(kind for kind, _ in taken),)) if taken else Accepted(then)  # the username before the email

    def after(self, sent: Sent, user_id: UUID, position: int) -> "World":
        """The world once a command has taken effect."""
        verdict = self.verdict(sent)
        assert isinstance(verdict, Accepted), f"{sent} took effect, expected {verdict}"
        assert sent.user_id in {None, user_id}
        people = {other: person for other, person in self.people.items() if other != user_id}
        gone = self.gone if verdict.then else {**self.gone, user_id: self.people[user_id].version + 1}
        kept = {sent.key: (sent.fingerprint, Repeated(user_id, position, verdict.then))} if sent.key else {}
        return World({**people, user_id: verdict.then} if verdict.then else people, gone, {**self.requests, **kept})


def _then(before: Person, command: Command) -> Person:
    match command:
        case ChangeRole(role):
            return replace(before, role=role)
        case Update(username=username, email=email, name=name):
            return replace(
                before,
                username=username or before.username,
                email=email or before.email,
                name=name or before.name,
            )
        case _:
            return before


def check_answer(sent: Sent, answer: CommandResult | BaseException, worlds: Sequence[World], place: int | None) -> None:
    """What the caller was told must be so: what took effect is acknowledged, all else was right at some moment."""
    if place is not None:
        assert isinstance(answer, CommandResult), f"{sent} took effect, and was told: {answer!r}"
        assert (answer.position, answer.changed) == (place, True)
        return
    match answer:
        case CommandResult(changed=True):
            told = Repeated(answer.user_id, answer.position, person_of(answer.user))
            assert any(same(told, world.verdict(sent), worlds) for world in worlds), f"{sent} was told {told}"
        case CommandResult():
            assert any(world.verdict(sent) == Idle() for world in worlds), f"{sent} had something to do"
        case Rejected():
            fields = tuple(sorted(problem.field[0] for problem in answer.problems))
            assert any(world.verdict(sent) == Refused(fields) for world in worlds), f"{sent} was refused for {fields}"
        case DatabaseUnavailable():
            pass  # nothing was written, which is what the log says
        case _:
            raise AssertionError(f"{sent} was told {answer!r}") from answer


def same(told: Repeated, verdict: object, worlds: Sequence[World]) -> bool:
    """Whether the first answer was given again; nothing is told any more of a user who is gone."""
    if not isinstance(verdict, Repeated) or (told.user_id, told.position) != (verdict.user_id, verdict.position):
        return False
    return told.then == verdict.then or (told.then is None and told.user_id in worlds[-1].gone)


def person_of(user: User | None) -> Person | None:
    """The user as the model knows it."""
    return Person(user.username, user.email, user.name, user.role, user.version) if user else None
