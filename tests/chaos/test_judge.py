"""The judge reports every violation with the ledger's line, and nothing else."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec

from events.event_types import (
    DataChanged,
    DataCreated,
    DataDeleted,
    Event,
    Origin,
    Recorded,
    Role,
    RoleChanged,
    UserDeleted,
    UserRegistered,
    UserUpdated,
)
from events.idempotency import Idempotency, Request
from tests.chaos.consumers import delivered_and_in_order, published_once_and_in_order
from tests.chaos.judge import Evidence, SentCommand, exactly_once, imported_once, received_once_and_in_order
from tests.chaos.ledger import (
    Delivered,
    Done,
    Entry,
    Imported,
    Ledger,
    Mailed,
    Published,
    Received,
    Refused,
    Sent,
    read,
)
from tests.chaos.mails import mailed_once, required
from tests.chaos.subscribers import Subscriber

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
    """A registration with the token in its data."""
    return UserRegistered(username=token, email="e", name="n", role=Role.CUSTOMER, attributes={"mark": token})


ADMINISTRATOR = recorded(1, registered("admin"), user=ADMIN)
LOG = [
    ADMINISTRATOR,
    recorded(2, registered("one")),
    recorded(3, UserUpdated(attributes={"mark": "two"}), version=2, actor=ADA),
]


def sent_command(
    command: str, kind: str, token: str | None, outcome: Done | Refused | None, attempts: int = 1
) -> SentCommand:
    """A command of Ada."""
    sent = [
        Entry(
            f"person-1.jsonl:{attempt}",
            Sent(
                command=command,
                attempt=attempt,
                kind=kind,
                key=command,
                caller=None if kind == "register" else ADA,
                key_owner=None if kind == "register" else ADA,
                user=None,
                token=token,
                to="api-1",
            ),
        )
        for attempt in range(1, attempts + 1)
    ]
    return SentCommand(sent, Entry("person-1.jsonl:9", outcome) if outcome else None)


def evidence(log: list[Recorded], commands: list[SentCommand], effects: dict[str, int]) -> Evidence:
    """Evidence with the positions that idempotency keys led to."""
    requests = {}
    for one in commands:
        name = one.first.command
        if name in effects:
            key = Request.of(SECRET, Idempotency(one.first.caller, name, b"")).key_hash
            requests[key] = (ADA, effects[name])
    return Evidence({one.first.command: one for one in commands}, {}, [], log, requests, SECRET)


def both() -> list[SentCommand]:
    """The two commands that caused the log."""
    return [
        sent_command("a", "register", "one", Done(command="a", position=2, user=ADA)),
        sent_command("b", "updateUser", "two", Done(command="b", position=3, user=ADA)),
    ]


def test_a_log_that_matches_the_answers_passes() -> None:
    """It also passes when an answer was lost, whether or not the command took effect."""
    lost = [
        sent_command("a", "register", "one", None, attempts=3),
        both()[1],
        sent_command("c", "updateUser", "three", None),
    ]
    assert list(exactly_once(evidence(LOG, both(), {"a": 2, "b": 3}))) == []
    assert list(exactly_once(evidence(LOG, lost, {"a": 2, "b": 3}))) == []


def test_a_lost_or_moved_acknowledged_command_is_reported_with_its_line() -> None:
    """The event is missing, or at another position than acknowledged."""
    assert list(exactly_once(evidence(LOG[:2], both(), {"a": 2}))) == [
        "person-1.jsonl:9: b was acknowledged at position 3, and never took effect"
    ]
    moved = exactly_once(evidence([*LOG[:2], recorded(4, LOG[2].event, actor=ADA)], both(), {"a": 2, "b": 4}))
    assert list(moved) == ["person-1.jsonl:9: b was acknowledged at position 3, and took effect at 4"]


def test_an_event_without_a_command_is_reported() -> None:
    """Such an event is a duplicate or has no cause."""
    twice = [*LOG, recorded(4, UserUpdated(attributes={"mark": "two"}), version=3, actor=ADA)]
    assert list(exactly_once(evidence(twice, both(), {"a": 2, "b": 3}))) == [
        f"position 4 (UserUpdated of {ADA}) belongs to no command"
    ]


def test_a_refused_command_with_an_effect_and_a_different_event_are_reported() -> None:
    """The refusal is of the only attempt; the event has other data or another type than the command."""
    refused = [both()[0], sent_command("b", "updateUser", "two", Refused(command="b", codes=["TAKEN"]))]
    assert len(list(exactly_once(evidence(LOG, refused, {"a": 2, "b": 3})))) == 1
    different = [both()[0], sent_command("b", "updateUser", "other", Done(command="b", position=3, user=ADA))]
    assert "has two" in next(exactly_once(evidence(LOG, different, {"a": 2, "b": 3})))
    other = [*LOG[:2], recorded(3, RoleChanged(role=Role.CUSTOMER), version=2, actor=ADA)]
    assert "did not cause" in next(exactly_once(evidence(other, both(), {"a": 2, "b": 3})))


class NamedSubscriber(Subscriber):
    """A subscriber with a name only."""

    def __init__(self) -> None:
        self.name, self.types, self.user_id = "subscriber", None, None


def test_a_missed_doubled_or_swapped_change_is_reported() -> None:
    """The report has the first line that differs."""
    kinds = ("USER_REGISTERED", "USER_REGISTERED", "USER_UPDATED")
    right = [
        Received(position=one.position, type=kind, user=one.stream_id, version=one.version)
        for one, kind in zip(LOG, kinds, strict=True)
    ]

    def errors(lines: list[Received]) -> list[str]:
        found = evidence(LOG, both(), {})
        found.received["subscriber"] = [
            Entry(f"subscriber.jsonl:{number}", line) for number, line in enumerate(lines, 1)
        ]
        return list(received_once_and_in_order(found, [NamedSubscriber()]))

    assert errors(right) == []
    assert errors(right[:2]) == ["subscriber: received 2 changes of 3"]
    assert errors([*right, right[2]]) == ["subscriber: received 4 changes of 3"]
    assert errors([right[0], right[0], *right[1:]])[0].startswith("subscriber.jsonl:2: expected position 2")
    assert errors([right[0], right[2], right[1]])[0].startswith("subscriber.jsonl:2: expected position 2")


def test_a_ledger_is_read_without_an_incomplete_line(tmp_path: Path) -> None:
    """A client that is killed inside a line loses only that line."""
    ledger = Ledger(tmp_path, "person-1")
    ledger.write(Done(command="a", position=2, user=ADA))
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(b'{"what":"done","comm')

    [entry] = read(tmp_path)

    assert (entry.place, entry.line.command, entry.line.position) == ("person-1.jsonl:1", "a", 2)


OBJECT = UUID(int=3)
DATA = [
    recorded(4, DataCreated("Object", {"mark": "four"}), user=OBJECT, actor=ADA),
    recorded(5, DataChanged(content={"mark": "five"}), user=OBJECT, version=2, actor=ADA),
]


def test_commands_on_data_objects_are_held_against_the_log() -> None:
    """A change with other content than the command's, or of another type, is reported."""

    def errors(log: list[Recorded]) -> list[str]:
        commands = [
            *both(),
            sent_command("c", "createData", "four", Done(command="c", position=4, user=OBJECT)),
            sent_command("d", "updateData", "five", Done(command="d", position=5, user=OBJECT)),
        ]
        found = evidence(log, commands, {"a": 2, "b": 3, "c": 4, "d": 5})
        requests = {
            key: (OBJECT if position > 3 else user, position) for key, (user, position) in found.requests.items()
        }
        found.requests = requests
        return list(exactly_once(found))

    assert errors([*LOG, *DATA]) == []
    [other] = errors([*LOG, DATA[0], recorded(5, DataChanged(content={"mark": "six"}), user=OBJECT, actor=ADA)])
    assert "has six, d sent five" in other
    [deleted] = errors([*LOG, DATA[0], recorded(5, DataDeleted(), user=OBJECT, actor=ADA)])
    assert "did not cause position 5: DataDeleted" in deleted


def test_a_webhook_that_misses_or_swaps_is_reported_and_one_that_repeats_is_not() -> None:
    """Changes of different users may come in any order."""
    log = [*LOG, *DATA]

    def errors(*positions: int) -> list[str]:
        by_position = {one.position: one for one in log}
        lines = [
            Delivered(position=at, event=by_position[at].event_id, subject=by_position[at].stream_id)
            for at in positions
        ]
        entries = [Entry(f"webhook.jsonl:{number}", line) for number, line in enumerate(lines, 1)]
        return list(delivered_and_in_order(entries, log, after=1))

    assert errors(2, 3, 4, 5) == errors(4, 2, 5, 3) == errors(2, 4, 2, 3, 4, 5, 3) == []
    assert errors(2, 3, 5, 4) == [f"webhook.jsonl:4: position 4 of {OBJECT} came first after 5"]
    assert errors(2, 4, 5) == ["position 3 (UserUpdated) was not delivered"]
    forged = [Entry("webhook.jsonl:1", Delivered(position=2, event=UUID(int=9), subject=ADA))]
    assert "is not the change in the log" in next(delivered_and_in_order(forged, LOG, after=1))


def test_a_reader_of_kafka_that_misses_repeats_or_swaps_is_reported() -> None:
    """Each change is once in the topic of events; of states a deleted user's may be missing."""
    events, states, ends = "rollcall.users.events", "rollcall.users.state", "rollcall.data.events"
    log = [*LOG, *(msgspec.structs.replace(one, owner_id=ADA) for one in DATA)]
    log.append(recorded(6, UserDeleted(), version=3))
    subjects = {one.position: str(one.stream_id) for one in log}

    def errors(*found: tuple[str, int, str]) -> list[str]:
        lines = [Published(topic=topic, position=at, subject=subject) for topic, at, subject in found]
        entries = [Entry(f"kafka.jsonl:{number}", line) for number, line in enumerate(lines, 1)]
        return list(published_once_and_in_order(entries, log, (events, states, ends)))

    def message(topic: str, at: int) -> tuple[str, int, str]:
        return topic, at, subjects[at]

    end = (ends, 6, str(OBJECT))  # the deletion of its owner ends the object
    everything = [message(events, at) for at in (1, 2, 3, 6)] + [message(ends, at) for at in (4, 5)] + [end]
    assert errors(*everything, message(states, 2)) == []
    assert errors(*everything[:-1]) == [f"{ends} lacks position 6 of {OBJECT}"]
    assert errors(*everything[1:]) == [f"{events} lacks position 1 of {ADMIN}"]
    assert errors(*everything, (states, 9, "?")) == [f"{states} has position 9 of ?, the log does not"]
    assert errors(*everything, message(events, 2)) == [f"kafka.jsonl:8: {events} has position 2 of {ADA} after 6"]


def test_a_mail_that_is_lost_differs_or_has_no_cause_is_reported_and_one_that_repeats_is_not() -> None:
    """A user who was deleted may lack a mail, but is told of the deletion."""
    bob, key = UUID(int=3), bytes(32)
    asked = Origin(correlation=UUID(int=9))
    log = [
        ADMINISTRATOR,  # by no request
        msgspec.structs.replace(recorded(2, registered("one")), origin=asked),
        msgspec.structs.replace(recorded(3, registered("two"), user=bob), origin=asked),
        recorded(4, UserDeleted(), user=bob, version=2),
    ]
    (wanted,) = required(log, key)
    right = Mailed(id=wanted, to="one@example.com", subject="Confirm your email")
    told = Mailed(id="<any>", to="two@example.com", subject="Your account was deleted")

    def found(*mails: Mailed) -> list[str]:
        return list(mailed_once([Entry(f"mail-server.jsonl:{n}", mail) for n, mail in enumerate(mails)], log, key))

    assert found(right, told) == found(right, told, right) == []
    assert found(told) == [f"position 2 (UserRegistered of {ADA}): its mail was lost"]
    assert found(right) == ["1 users were deleted, and 0 were told"]
    other = msgspec.structs.replace(right, to="two@example.com")
    assert found(right, other, told) == [f"the mails {wanted} differ"]
    stranger = msgspec.structs.replace(right, id="<x>")
    assert found(right, stranger, told) == ["mail-server.jsonl:1: no event has caused the mail <x>, Confirm your email"]


def test_a_link_for_an_email_that_was_replaced_is_not_required() -> None:
    """It may have been replaced before the mail was sent; the link for the new email must arrive."""
    asked = Origin(correlation=UUID(int=9))
    events = recorded(2, registered("one")), recorded(3, UserUpdated(email="new@example.com"), version=2)
    log = [ADMINISTRATOR, *(msgspec.structs.replace(event, origin=asked) for event in events)]

    assert [one.position for one in required(log, bytes(32)).values()] == [3, 3]  # the link, and news to the old email


def test_an_imported_row_that_registers_no_user_or_two_is_reported() -> None:
    """A row whose import was not answered may have registered one."""
    log = [ADMINISTRATOR, recorded(2, registered("one")), recorded(3, registered("two"), user=UUID(int=3))]
    found = evidence(log, [], {})
    found.importing |= {"one", "two", "three"}
    found.imported.append(Entry("importer-1.jsonl:2", Imported(usernames=["one"])))

    assert [*exactly_once(found), *imported_once(found)] == []
    found.imported.append(Entry("importer-1.jsonl:4", Imported(usernames=["three"])))
    assert list(imported_once(found)) == ["importer-1.jsonl:4: three was imported, and 0 users were registered"]
    found.log.append(recorded(4, registered("two"), user=UUID(int=4)))
    assert "two was registered 2 times" in list(imported_once(found))
