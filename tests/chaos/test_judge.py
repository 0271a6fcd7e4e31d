"""The judge calls wrong what is wrong, names the ledger's line, and calls nothing else so."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from events.event_types import Event, Origin, Recorded, Role, RoleChanged, UserRegistered, UserUpdated
from events.idempotency import Idempotency, Request
from tests.chaos.judge import Evidence, Story, exactly_once, heard_once_and_in_order
from tests.chaos.ledger import Done, Entry, Heard, Ledger, Refused, Sent, read
from tests.chaos.listeners import Listener

ADMIN, ADA = UUID(int=1), UUID(int=2)
SECRET = bytes(32)


def recorded(position: int, event: Event, *, user: UUID = ADA, version: int = 1, actor: UUID | None = None) -> Recorded:
    """An event of the log."""
    return Recorded(
        position=position,
        stream_id=user,
        version=version,
        event_id=UUID(int=position),
        type=type(event).__name__,
        event=event,
        fields=(),
        origin=Origin(actor=actor),
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def registered(token: str) -> UserRegistered:
    """A registration whose data has the token."""
    return UserRegistered(username=token, email="e", name="n", role=Role.CUSTOMER, attributes={"mark": token})


ADMINISTRATOR = recorded(1, registered("admin"), user=ADMIN)
LOG = [
    ADMINISTRATOR,
    recorded(2, registered("one")),
    recorded(3, UserUpdated(attributes={"mark": "two"}), version=2, actor=ADA),
]


def story(command: str, kind: str, token: str | None, outcome: Done | Refused | None, attempts: int = 1) -> Story:
    """A command that Ada sent."""
    sent = [
        Entry(
            f"person-1.jsonl:{attempt}",
            Sent(
                command=command,
                attempt=attempt,
                kind=kind,
                key=command,
                caller=None if kind == "register" else ADA,
                user=None,
                token=token,
                to="api-1",
            ),
        )
        for attempt in range(1, attempts + 1)
    ]
    return Story(sent, Entry("person-1.jsonl:9", outcome) if outcome else None)


def evidence(log: list[Recorded], stories: list[Story], effects: dict[str, int]) -> Evidence:
    """What was found, with the positions that idempotency keys led to."""
    requests = {}
    for one in stories:
        name = one.first.command
        if name in effects:
            key = Request.of(SECRET, Idempotency(one.first.caller, name, b"")).key_hash
            requests[key] = (ADA, effects[name])
    return Evidence({one.first.command: one for one in stories}, {}, [], log, requests, SECRET)


def both() -> list[Story]:
    """The two commands that made the log."""
    return [
        story("a", "register", "one", Done(command="a", position=2, user=ADA)),
        story("b", "updateUser", "two", Done(command="b", position=3, user=ADA)),
    ]


def test_a_log_that_is_what_was_told_is_right() -> None:
    """Also when an answer was lost, whether the command took effect or not."""
    lost = [story("a", "register", "one", None, attempts=3), both()[1], story("c", "updateUser", "three", None)]
    assert list(exactly_once(evidence(LOG, both(), {"a": 2, "b": 3}))) == []
    assert list(exactly_once(evidence(LOG, lost, {"a": 2, "b": 3}))) == []


def test_what_was_acknowledged_and_is_not_there_is_told_with_its_line() -> None:
    """Lost altogether, or somewhere else than was told."""
    assert list(exactly_once(evidence(LOG[:2], both(), {"a": 2}))) == [
        "person-1.jsonl:9: b was acknowledged at position 3, and never took effect"
    ]
    moved = exactly_once(evidence([*LOG[:2], recorded(4, LOG[2].event, actor=ADA)], both(), {"a": 2, "b": 4}))
    assert list(moved) == ["person-1.jsonl:9: b was acknowledged at position 3, and took effect at 4"]


def test_what_happened_twice_or_for_no_reason_is_told() -> None:
    """An event that no command led to is one that happened twice, or never should have."""
    twice = [*LOG, recorded(4, UserUpdated(attributes={"mark": "two"}), version=3, actor=ADA)]
    assert list(exactly_once(evidence(twice, both(), {"a": 2, "b": 3}))) == [
        f"position 4 (UserUpdated of {ADA}) belongs to no command"
    ]


def test_what_was_refused_and_took_effect_or_is_another_is_told() -> None:
    """A refusal of the only attempt; an event that says something else, or is of another kind, than what was sent."""
    refused = [both()[0], story("b", "updateUser", "two", Refused(command="b", codes=["TAKEN"]))]
    assert len(list(exactly_once(evidence(LOG, refused, {"a": 2, "b": 3})))) == 1
    said = [both()[0], story("b", "updateUser", "other", Done(command="b", position=3, user=ADA))]
    assert "says two" in next(exactly_once(evidence(LOG, said, {"a": 2, "b": 3})))
    other = [*LOG[:2], recorded(3, RoleChanged(role=Role.CUSTOMER), version=2, actor=ADA)]
    assert "is not what happened" in next(exactly_once(evidence(other, both(), {"a": 2, "b": 3})))


class Heading(Listener):
    """A listener of whom nothing but the name matters."""

    def __init__(self) -> None:
        self.name, self.types, self.whose = "listener", None, None


def test_a_subscriber_that_missed_or_doubled_or_swapped_something_is_told() -> None:
    """By the line at which it first differs."""
    kinds = ("USER_REGISTERED", "USER_REGISTERED", "USER_UPDATED")
    right = [
        Heard(position=one.position, type=kind, user=one.stream_id, version=one.version)
        for one, kind in zip(LOG, kinds, strict=True)
    ]

    def told(lines: list[Heard]) -> list[str]:
        found = evidence(LOG, both(), {})
        found.heard["listener"] = [Entry(f"listener.jsonl:{number}", line) for number, line in enumerate(lines, 1)]
        return list(heard_once_and_in_order(found, [Heading()]))

    assert told(right) == []
    assert told(right[:2]) == ["listener: heard 2 changes of 3"]
    assert told([*right, right[2]]) == ["listener: heard 4 changes of 3"]
    assert told([right[0], right[0], *right[1:]])[0].startswith("listener.jsonl:2: expected position 2")
    assert told([right[0], right[2], right[1]])[0].startswith("listener.jsonl:2: expected position 2")


def test_a_ledger_is_read_as_it_was_written_but_for_a_line_that_was_cut(tmp_path: Path) -> None:
    """A client that is killed in the middle of a line takes none of the others with it."""
    ledger = Ledger(tmp_path, "person-1")
    ledger.write(Done(command="a", position=2, user=ADA))
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(b'{"what":"done","comm')

    [entry] = read(tmp_path)

    assert (entry.place, entry.line.command, entry.line.position) == ("person-1.jsonl:1", "a", 2)
