"""Checks after the faults: ledgers, log and views must agree with the guarantees.

Each check returns errors as sentences, with the line of the ledger if there is one:

- a command's idempotency key leads, through the table of requests, to the event that it caused;
- an event belongs to exactly one command, or created the first administrator;
- changes that subscribers received are compared with the events of the log, by position;
- `rollcall verify` compares the views with the log, and `rollcall verify --log` verifies the hash chain.
"""

import asyncio
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from events.database import Address, Database
from events.event_types import (
    DATA_TYPES,
    DataChanged,
    DataCreated,
    Event,
    Forgotten,
    Recorded,
    UserRegistered,
    UserUpdated,
)
from events.idempotency import Idempotency, Request
from events.log_keys import open_log_keys
from events.store import EventStore
from events.vault import Vault
from graph.event_names import UserEventType
from projections.mongo.client import MongoClient
from tests.chaos import ledger
from tests.chaos.strangers import NAME
from tests.chaos.subscribers import Subscriber
from tests.chaos.system import System

CAUSED: Final = {
    "register": "UserRegistered",
    "createUser": "UserRegistered",
    "updateUser": "UserUpdated",
    "changeRole": "RoleChanged",
    "deleteUser": "UserDeleted",
    "createData": "DataCreated",
    "updateData": "DataChanged",
    "transferData": "DataTransferred",
    "deleteData": "DataDeleted",
}
NO_CHANGE: Final = frozenset({"changeRole", "transferData"})
"""Kinds that write no event if the user has the role, or the data object the owner, already."""
UNEXPECTED: Final = (
    "http.internal",
    "graph.internal",
    "socket.internal",
    "audit.failed",
    "audit.difference",
    "unexpected",
)
SHOWN: Final = 12
"""Errors shown per check; the report counts the rest."""
PAGE_EVENTS: Final = 5_000


@dataclass
class SentCommand:
    """The attempts and the outcome of one command, from its ledger."""

    sent: list[ledger.Entry] = field(default_factory=list)
    outcome: ledger.Entry | None = None

    @property
    def first(self) -> ledger.Sent:
        """The first attempt."""
        line: ledger.Sent = self.sent[0].line
        return line

    @property
    def place(self) -> str:
        """The line of the ledger that errors name."""
        return (self.outcome or self.sent[-1]).place

    @property
    def answer(self) -> ledger.Done | ledger.Refused | None:
        """The answer, if the client got one."""
        line = self.outcome.line if self.outcome else None
        return line if isinstance(line, ledger.Done | ledger.Refused) else None


@dataclass
class Evidence:
    """The data that the checks compare."""

    commands: dict[str, SentCommand]
    received: dict[str, list[ledger.Entry]]
    reported: list[ledger.Entry]
    log: list[Recorded]
    requests: dict[bytes, tuple[UUID, int]]
    requests_key: bytes
    delivered: list[ledger.Entry] = field(default_factory=list)
    """What the endpoint of the webhook accepted."""
    published: list[ledger.Entry] = field(default_factory=list)
    """What the reader of Kafka got."""
    mailed: list[ledger.Entry] = field(default_factory=list)
    """What the mail server has taken."""
    importing: set[str] = field(default_factory=set)
    """Usernames of all rows that were sent to be imported."""
    imported: list[ledger.Entry] = field(default_factory=list)
    """Imports that were acknowledged."""
    mail_key: bytes = b""

    def effect_of(self, command: SentCommand) -> tuple[UUID, int] | None:
        """The user or data object, and the position, that a command's idempotency key led to."""
        idempotency = Idempotency(command.first.key_owner, command.first.key or "", b"")
        return self.requests.get(Request.of(self.requests_key, idempotency).key_hash)


async def gather(system: System, directory: Path) -> Evidence:
    """Read the ledgers and the log."""
    commands: dict[str, SentCommand] = defaultdict(SentCommand)
    received: dict[str, list[ledger.Entry]] = defaultdict(list)
    others: dict[type[ledger.Line], list[ledger.Entry]] = defaultdict(list)
    for entry in ledger.read(directory):
        match entry.line:
            case ledger.Sent(command=name):
                commands[name].sent.append(entry)
            case ledger.Done(command=name) | ledger.Refused(command=name) | ledger.Abandoned(command=name):
                commands[name].outcome = entry
            case ledger.Received():
                received[entry.place.partition(".")[0]].append(entry)
            case line:
                others[type(line)].append(entry)
    database = Database.at(Address.parse(system.mysqld.url), size=2)
    try:
        vault = Vault(system.keyring.master, secrets.token_bytes, others=tuple(system.previous_keys))
        keys = await open_log_keys(database, vault)
        rows = await database.fetch_all("SELECT key_hash, user_id, position FROM requests")
        return Evidence(
            commands={name: command for name, command in commands.items() if command.sent},
            received=received,
            reported=others[ledger.Wrong],
            log=await _whole_log(EventStore(database, vault)),
            requests={key: (UUID(bytes=user), int(position)) for key, user, position in rows},
            requests_key=keys.requests,
            delivered=others[ledger.Delivered],
            published=others[ledger.Published],
            mailed=others[ledger.Mailed],
            importing={name for entry in others[ledger.Importing] for name in entry.line.usernames},
            imported=others[ledger.Imported],
            mail_key=keys.mail,
        )
    finally:
        await database.close()


async def _whole_log(store: EventStore) -> list[Recorded]:
    """Read the whole log; raises PositionGap unless its positions are dense from 1."""
    log: list[Recorded] = []
    while page := await store.read_all(after=len(log), limit=PAGE_EVENTS):
        log += page
    return log


def exactly_once(evidence: Evidence) -> Iterator[str]:
    """Acknowledged commands took effect once, refused ones never, others at most once; no other event exists."""
    by_position = {recorded.position: recorded for recorded in evidence.log}
    causes: dict[int, str] = {}
    for name, command in evidence.commands.items():
        effect = evidence.effect_of(command)
        yield from _check_answer(name, command, effect)
        if effect is not None:
            _, position = effect
            if position in causes:
                yield f"{command.place}: {name} and {causes[position]} both led to position {position}"
            causes[position] = name
            yield from _check_event(name, command, effect, by_position.get(position))
    strangers = {recorded.stream_id for recorded in evidence.log if _is_stranger(recorded.event)}
    for recorded in evidence.log:
        if recorded.stream_id in strangers or _is_first_administrator(recorded):
            continue
        if recorded.position not in causes and not _is_of(evidence.importing, recorded):
            yield f"position {recorded.position} ({recorded.type} of {recorded.stream_id}) belongs to no command"


def _check_answer(name: str, command: SentCommand, effect: tuple[UUID, int] | None) -> Iterator[str]:
    answer = command.answer
    if isinstance(answer, ledger.Refused) and effect is not None and len(command.sent) == 1:
        yield f"{command.place}: {name} was refused with {answer.codes}, and took effect at position {effect[1]}"
    if not isinstance(answer, ledger.Done):
        return
    if effect is None:
        if command.first.kind not in NO_CHANGE:
            yield f"{command.place}: {name} was acknowledged at position {answer.position}, and never took effect"
    elif effect != (answer.user or effect[0], answer.position):
        yield f"{command.place}: {name} was acknowledged at position {answer.position}, and took effect at {effect[1]}"


def _check_event(name: str, command: SentCommand, effect: tuple[UUID, int], found: Recorded | None) -> Iterator[str]:
    user, position = effect
    sent = command.first
    if found is None:
        yield f"{command.place}: {name} took effect at position {position}, which the log does not have"
    elif (found.type, found.stream_id, found.origin.actor) != (CAUSED[sent.kind], user, sent.caller):
        yield f"{command.place}: {name} did not cause position {position}: {found.type} by {found.origin.actor}"
    elif token_of(found) not in (None, sent.token):
        yield f"{command.place}: position {position} has {token_of(found)}, {name} sent {sent.token}"


def token_of(recorded: Recorded) -> str | None:
    """The token in an event's personal data, or None."""
    match recorded.event:
        case UserRegistered(attributes=data) | UserUpdated(attributes=data):
            pass
        case DataCreated(content=data) | DataChanged(content=data):
            pass
        case _:
            return None
    return data.get("mark") if data else None


def _is_stranger(event: Event) -> bool:
    return isinstance(event, UserRegistered) and any(name.startswith(NAME) for name in (event.username, event.email))


def imported_once(evidence: Evidence) -> Iterator[str]:
    """Each row of an acknowledged import registered one user, and no row registered two."""
    registered = Counter(one.event.username for one in evidence.log if isinstance(one.event, UserRegistered))
    for entry in evidence.imported:
        for name in entry.line.usernames:
            if registered[name] != 1:
                yield f"{entry.place}: {name} was imported, and {registered[name]} users were registered"
    for name in evidence.importing:
        if registered[name] > 1:
            yield f"{name} was registered {registered[name]} times"


def _is_of(usernames: set[str], recorded: Recorded) -> bool:
    return isinstance(recorded.event, UserRegistered) and recorded.event.username in usernames


def _is_first_administrator(recorded: Recorded) -> bool:
    return recorded.position == 1 and recorded.type == "UserRegistered" and recorded.origin.actor is None


def received_once_and_in_order(evidence: Evidence, subscribers: Sequence[Subscriber]) -> Iterator[str]:
    """Each subscriber received every change of its kind once and in order, however often it was cut off."""
    for subscriber in subscribers:
        expected = expected_by(subscriber, evidence.log)
        received = [entry.line for entry in evidence.received.get(subscriber.name, ())]
        found = [(line.position, line.type, line.user, line.version) for line in received]
        for number, (one, other) in enumerate(zip(found, expected, strict=False)):
            if one != other:
                place = evidence.received[subscriber.name][number].place
                yield f"{place}: expected position {other[0]} ({other[1]}), received {one[0]} ({one[1]})"
                break
        else:
            if len(found) != len(expected):
                yield f"{subscriber.name}: received {len(found)} changes of {len(expected)}"


def expected_by(subscriber: Subscriber, log: Iterable[Recorded]) -> list[tuple[int, str, UUID, int]]:
    """The changes that a subscriber must receive."""
    expected = [
        (recorded.position, UserEventType(recorded.type).name, recorded.stream_id, recorded.version)
        for recorded in log
        if recorded.type in subscriber.OF and subscriber.user_id in (None, recorded.stream_id)
    ]
    return [one for one in expected if subscriber.types is None or one[1] in subscriber.types]


def clients_reported_nothing(evidence: Evidence) -> Iterator[str]:
    """No client got an impossible answer."""
    for entry in evidence.reported:
        yield f"{entry.place}: {entry.line.why}"


async def deleted_users_left_no_data(evidence: Evidence, system: System) -> list[str]:
    """No table, collection or process log has personal data of a deleted user, or of a deleted data object.

    What was written before a data object was handed over is sealed with the key of its former owner, and may be in a
    copy of a view of that time; the new owner's deletion concerns what came after.
    """
    deleted = {recorded.stream_id for recorded in evidence.log if recorded.type == "UserDeleted"}
    by_position = {recorded.position: recorded for recorded in evidence.log}
    last = {recorded.stream_id: recorded for recorded in evidence.log if recorded.type in DATA_TYPES}
    gone = set()
    for command in evidence.commands.values():
        effect = evidence.effect_of(command)
        if effect is None or command.first.token is None or effect[1] not in by_position:
            continue
        cause = by_position[effect[1]]
        now = last.get(cause.stream_id, cause)
        if now.type == "DataDeleted" or {cause.user_id, now.user_id} <= deleted:
            gone.add(command.first.token)
    wrongs = [
        f"position {recorded.position} of the deleted user {recorded.user_id} can still be read"
        for recorded in evidence.log
        if recorded.user_id in deleted
        and recorded.type not in {"UserDeleted", "DataDeleted"}
        and not isinstance(recorded.event, Forgotten)
    ]
    for place, text in (await stored_bytes(system)).items():
        tokens = {found.decode() for found in re.findall(rb"cz[0-9a-f]+x\d+zc", text.lower())}
        wrongs += [f"{place} has {token} of what was deleted" for token in tokens & gone]
    return wrongs


async def stored_bytes(system: System) -> dict[str, bytes]:
    """All rows, documents and process logs as bytes, by place."""
    found = {path.name: path.read_bytes() for path in system.directory.glob("*.log")}
    database, mongo = Database.at(Address.parse(system.mysqld.url), size=1), MongoClient(system.mongod.url)
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    for (table,) in await database.fetch_all(tables):
        rows = await database.fetch_all(f"SELECT * FROM {table}")
        found[f"table {table}"] = b"\n".join(_bytes(value) for row in rows for value in row)
    for name in await mongo.documents.list_collection_names():
        found[f"collection {name}"] = repr(await mongo.documents[name].find().to_list()).encode()
    mongo.close()
    await database.close()
    return found


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


async def names_are_unique(system: System) -> list[str]:
    """Usernames and emails are unique in each view."""
    database, mongo = Database.at(Address.parse(system.mysqld.url), size=1), MongoClient(system.mongod.url)
    rows = await database.fetch_all("SELECT username, email FROM users")
    live = (await mongo.documents["copies"].find_one({"_id": "names"}) or {}).get("live", "users")
    documents = await mongo.documents[live].find({"deleted": {"$ne": True}}, {"username": 1, "email": 1}).to_list()
    mongo.close()
    await database.close()
    by_view = {"mysql": rows, "mongo": [(one["username"], one["email"]) for one in documents]}
    wrongs = []
    for view, people in by_view.items():
        for number, what in enumerate(("username", "email")):
            counts = Counter(person[number].lower() for person in people)
            wrongs += [
                f"the {view} view has {what} {name} {times} times" for name, times in counts.items() if times > 1
            ]
    if len(rows) != len(documents):
        wrongs.append(f"the mysql view has {len(rows)} users, the mongo view {len(documents)}")
    return wrongs


async def views_equal_the_log(system: System) -> list[str]:
    """`rollcall verify` finds no differences."""
    return await _verify(system, "verify")


async def chain_is_valid(system: System) -> list[str]:
    """`rollcall verify --log` finds dense positions and valid hashes."""
    return await _verify(system, "verify", "--log")


async def _verify(system: System, *arguments: str) -> list[str]:
    code, output = await system.command(*arguments)
    found = [line for line in output.splitlines() if not line.endswith("%)")]  # without the progress
    return [] if code == 0 else [f"rollcall {' '.join(arguments)} ended with exit code {code}", *found]


def unexpected_errors(system: System) -> Iterator[str]:
    """Unexpected errors in the logs of the processes."""
    for program in system.programs:
        for number, line in enumerate(program.log.read_text(errors="replace").splitlines(), start=1):
            if any(f'"event": "{event}"' in line for event in UNEXPECTED):
                yield f"{program.log.name}:{number}: {line[:300]}"


async def judge(evidence: Evidence, system: System, subscribers: Sequence[Subscriber]) -> Mapping[str, list[str]]:
    """Run every check; return the errors by check."""
    verified, chained = await asyncio.gather(views_equal_the_log(system), chain_is_valid(system))
    return {
        "exactly once": [*exactly_once(evidence), *imported_once(evidence)],
        "chain": chained,
        "views": verified,
        "subscriptions": list(received_once_and_in_order(evidence, subscribers)),
        "erasure": await deleted_users_left_no_data(evidence, system),
        "unique names": await names_are_unique(system),
        "clients": list(clients_reported_nothing(evidence)),
        "logs": list(unexpected_errors(system)),
    }
