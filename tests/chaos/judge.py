"""After the faults: is everything as the ledgers, the log and the guarantees say?

Each check returns what is wrong, as sentences with the ledger's line where there is one. What is compared with what:

- a command's idempotency key leads, through the table of requests, to the event that it caused;
- an event belongs to exactly one command, or it was the making of the first administrator;
- what subscribers heard is compared with the events of the log, by position;
- the views are compared with the log by `rollcall verify`, the chain by `rollcall verify --log`.
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

from events.claims import OWNER
from events.database import Address, Database
from events.event_types import Forgotten, Recorded, UserRegistered, UserUpdated
from events.idempotency import Idempotency, Request
from events.store import EventStore
from events.vault import Vault
from graph.types import UserEventType
from projections.mongo.client import MongoClient
from tests.chaos import ledger
from tests.chaos.listeners import Listener
from tests.chaos.system import System

CAUSED: Final = {
    "register": "UserRegistered",
    "createUser": "UserRegistered",
    "updateUser": "UserUpdated",
    "changeRole": "RoleChanged",
    "deleteUser": "UserDeleted",
}
UNFORESEEN: Final = (
    "http.internal",
    "graph.internal",
    "socket.internal",
    "audit.failed",
    "audit.difference",
    "unexpected",
)
SHOWN: Final = 12
"""Of each check; how many more there are is said."""
PAGE_EVENTS: Final = 5_000


@dataclass
class Story:
    """All that a ledger says of one command."""

    sent: list[ledger.Entry] = field(default_factory=list)
    outcome: ledger.Entry | None = None

    @property
    def first(self) -> ledger.Sent:
        """Its first attempt."""
        line: ledger.Sent = self.sent[0].line
        return line

    @property
    def place(self) -> str:
        """Where to look."""
        return (self.outcome or self.sent[-1]).place

    @property
    def told(self) -> ledger.Done | ledger.Refused | None:
        """The outcome, if there was one."""
        line = self.outcome.line if self.outcome else None
        return line if isinstance(line, ledger.Done | ledger.Refused) else None


@dataclass
class Evidence:
    """What there is to judge."""

    stories: dict[str, Story]
    heard: dict[str, list[ledger.Entry]]
    noted: list[ledger.Entry]
    log: list[Recorded]
    requests: dict[bytes, tuple[UUID, int]]
    claims_secret: bytes

    def effect_of(self, story: Story) -> tuple[UUID, int] | None:
        """Whom and where a command has changed, by its idempotency key."""
        idempotency = Idempotency(story.first.caller, story.first.key or "", b"")
        return self.requests.get(Request.of(self.claims_secret, idempotency).key_hash)


async def gather(system: System, directory: Path) -> Evidence:
    """Read the ledgers and the log."""
    stories: dict[str, Story] = defaultdict(Story)
    heard: dict[str, list[ledger.Entry]] = defaultdict(list)
    noted = []
    for entry in ledger.read(directory):
        match entry.line:
            case ledger.Sent(command=command):
                stories[command].sent.append(entry)
            case ledger.Done(command=command) | ledger.Refused(command=command) | ledger.GivenUp(command=command):
                stories[command].outcome = entry
            case ledger.Heard():
                heard[entry.place.partition(".")[0]].append(entry)
            case ledger.Wrong():
                noted.append(entry)
    database = Database.at(Address.parse(system.mysqld.url), size=2)
    try:
        vault = Vault(system.keyring.master, secrets.token_bytes, others=tuple(system.former_keys))
        rows = await database.fetch_all("SELECT key_hash, user_id, position FROM requests")
        return Evidence(
            stories={name: story for name, story in stories.items() if story.sent},
            heard=heard,
            noted=noted,
            log=await _whole_log(EventStore(database, vault)),
            requests={key: (UUID(bytes=user), int(position)) for key, user, position in rows},
            claims_secret=await _claims_secret(database, vault),
        )
    finally:
        await database.close()


async def _claims_secret(database: Database, vault: Vault) -> bytes:
    row = await database.fetch_one("SELECT wrapped, master_key_id FROM claims_key")
    assert row is not None
    return vault.secret(OWNER, vault.key_of(OWNER, *row))


async def _whole_log(store: EventStore) -> list[Recorded]:
    """Dense from 1, or it raises PositionGap."""
    log: list[Recorded] = []
    while page := await store.read_all(after=len(log), limit=PAGE_EVENTS):
        log += page
    return log


def exactly_once(evidence: Evidence) -> Iterator[str]:
    """Acknowledged commands took effect once, refused ones never, others at most once, and nothing else happened."""
    by_position = {recorded.position: recorded for recorded in evidence.log}
    causes: dict[int, str] = {}
    for name, story in evidence.stories.items():
        effect = evidence.effect_of(story)
        yield from _against_what_was_told(name, story, effect)
        if effect is not None:
            _, position = effect
            if position in causes:
                yield f"{story.place}: {name} and {causes[position]} both led to position {position}"
            causes[position] = name
            yield from _is_its(name, story, effect, by_position.get(position))
    for recorded in evidence.log:
        if recorded.position not in causes and not _is_first_administrator(recorded):
            yield f"position {recorded.position} ({recorded.type} of {recorded.stream_id}) belongs to no command"


def _against_what_was_told(name: str, story: Story, effect: tuple[UUID, int] | None) -> Iterator[str]:
    told = story.told
    if isinstance(told, ledger.Refused) and effect is not None and len(story.sent) == 1:
        yield f"{story.place}: {name} was refused with {told.codes}, and took effect at position {effect[1]}"
    if not isinstance(told, ledger.Done):
        return
    if effect is None:
        if story.first.kind != "changeRole":  # to the role that the user has anyway: nothing happens
            yield f"{story.place}: {name} was acknowledged at position {told.position}, and never took effect"
    elif effect != (told.user, told.position):
        yield f"{story.place}: {name} was acknowledged at position {told.position}, and took effect at {effect[1]}"


def _is_its(name: str, story: Story, effect: tuple[UUID, int], found: Recorded | None) -> Iterator[str]:
    user, position = effect
    sent = story.first
    if found is None:
        yield f"{story.place}: {name} took effect at position {position}, which the log does not have"
    elif (found.type, found.stream_id, found.origin.actor) != (CAUSED[sent.kind], user, sent.caller):
        yield f"{story.place}: {name} is not what happened at position {position}: {found.type} by {found.origin.actor}"
    elif token_of(found) not in (None, sent.token):
        yield f"{story.place}: position {position} says {token_of(found)}, {name} said {sent.token}"


def token_of(recorded: Recorded) -> str | None:
    """The token in an event's personal data, if it can be read."""
    event = recorded.event
    attributes = event.attributes if isinstance(event, UserRegistered | UserUpdated) else None
    return attributes.get("mark") if attributes else None


def _is_first_administrator(recorded: Recorded) -> bool:
    return recorded.position == 1 and recorded.type == "UserRegistered" and recorded.origin.actor is None


def heard_once_and_in_order(evidence: Evidence, listeners: Sequence[Listener]) -> Iterator[str]:
    """Each subscriber heard every change of its kind once and in the order of the log, however often it was cut off."""
    for listener in listeners:
        expected = wanted_by(listener, evidence.log)
        heard = [entry.line for entry in evidence.heard.get(listener.name, ())]
        found = [(line.position, line.type, line.user, line.version) for line in heard]
        for number, (one, other) in enumerate(zip(found, expected, strict=False)):
            if one != other:
                place = evidence.heard[listener.name][number].place
                yield f"{place}: expected position {other[0]} ({other[1]}), heard {one[0]} ({one[1]})"
                break
        else:
            if len(found) != len(expected):
                yield f"{listener.name}: heard {len(found)} changes of {len(expected)}"


def wanted_by(listener: Listener, log: Iterable[Recorded]) -> list[tuple[int, str, UUID, int]]:
    """What a subscriber must have heard."""
    wanted = [
        (recorded.position, UserEventType(recorded.type).name, recorded.stream_id, recorded.version)
        for recorded in log
        if listener.whose in (None, recorded.stream_id)
    ]
    return [one for one in wanted if listener.types is None or one[1] in listener.types]


def clients_noted_nothing(evidence: Evidence) -> Iterator[str]:
    """No client was told anything that cannot be right."""
    for entry in evidence.noted:
        yield f"{entry.place}: {entry.line.why}"


async def deleted_left_nothing(evidence: Evidence, system: System) -> list[str]:
    """No word of a deleted user's personal data is in any table, any collection, or any process's log."""
    deleted = {recorded.stream_id for recorded in evidence.log if recorded.type == "UserDeleted"}
    whose = {}
    for story in evidence.stories.values():
        effect = evidence.effect_of(story)
        if effect is not None and story.first.token is not None:
            whose[story.first.token] = effect[0]
    wrongs = [
        f"position {recorded.position} of the deleted user {recorded.stream_id} can still be read"
        for recorded in evidence.log
        if recorded.stream_id in deleted
        and recorded.type != "UserDeleted"
        and not isinstance(recorded.event, Forgotten)
    ]
    for place, text in (await everything(system)).items():
        tokens = {found.decode() for found in re.findall(rb"cz[0-9a-f]+x\d+zc", text.lower())}
        wrongs += [f"{place} has {token} of a deleted user" for token in tokens if whose.get(token) in deleted]
    return wrongs


async def everything(system: System) -> dict[str, bytes]:
    """Every row, every document, and all that the processes logged, by where it is."""
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
    """No two users have one username or one email, in either view."""
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


async def views_are_the_log(system: System) -> list[str]:
    """`rollcall verify` finds nothing."""
    return await _verified(system, "verify")


async def the_chain_holds(system: System) -> list[str]:
    """`rollcall verify --log` finds positions dense and each hash as it must be."""
    return await _verified(system, "verify", "--log")


async def _verified(system: System, *arguments: str) -> list[str]:
    code, said = await system.command(*arguments)
    found = [line for line in said.splitlines() if not line.endswith("%)")]  # without the progress
    return [] if code == 0 else [f"rollcall {' '.join(arguments)} ended with exit code {code}", *found]


def unforeseen(system: System) -> Iterator[str]:
    """What processes logged as something that nobody foresaw."""
    for program in system.programs:
        for number, line in enumerate(program.log.read_text(errors="replace").splitlines(), start=1):
            if any(f'"event": "{event}"' in line for event in UNFORESEEN):
                yield f"{program.log.name}:{number}: {line[:300]}"


async def judge(evidence: Evidence, system: System, listeners: Sequence[Listener]) -> Mapping[str, list[str]]:
    """Every check by its name, with what it found to be wrong."""
    verified, chained = await asyncio.gather(views_are_the_log(system), the_chain_holds(system))
    return {
        "exactly once": list(exactly_once(evidence)),
        "chain": chained,
        "views": verified,
        "subscriptions": list(heard_once_and_in_order(evidence, listeners)),
        "erasure": await deleted_left_nothing(evidence, system),
        "unique names": await names_are_unique(system),
        "clients": list(clients_noted_nothing(evidence)),
        "logs": list(unforeseen(system)),
    }
