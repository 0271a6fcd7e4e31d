"""Write a long log in bulk, byte for byte like one that grew over years.

Events are sealed, chained and numbered as by the appender, and `rollcall verify --log` passes. Claims are not taken,
since no benchmark on this log needs them.
"""

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from events import statements
from events.chain import START, Link, StoredRow, next_hash, read_head
from events.database import Database
from events.event_types import (
    Event,
    Origin,
    PasswordChanged,
    Role,
    RoleChanged,
    UserDeleted,
    UserRegistered,
    UserUpdated,
    encode,
    password_hash_of,
)
from events.ids import uuid7, uuid_of
from events.log_keys import open_log_keys
from events.sql import binaries
from events.vault import CredentialKey, KeyRow, UserKey, Vault, place_of

STATEMENT_EVENTS: Final = 2_000
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class HistoryUser:
    """A user of the history."""

    id: UUID
    key: UserKey
    version: int = 0


@dataclass(slots=True)
class Statement:
    """The writes of one transaction."""

    links: list[Link] = field(default_factory=list)
    born: list[HistoryUser] = field(default_factory=list)
    gone: list[HistoryUser] = field(default_factory=list)
    credentials: dict[UUID, CredentialKey] = field(default_factory=dict)


class History:
    """A log of `events` events on `users` users: evenly spread registrations, and changes of random existing users."""

    def __init__(self, vault: Vault, events: int, users: int, seed: int = 1) -> None:
        self._vault = vault
        self._events = events
        self._users = users
        self._chance = random.Random(seed)
        self._living: list[HistoryUser] = []
        self._registered = 0
        self._mark = START
        self._chain_key = b""

    async def resume(self, database: Database) -> None:
        """Go on with a log that an earlier run has begun: with its users, their keys and versions."""
        rows = await database.fetch_all("SELECT stream_id, MAX(version) FROM events GROUP BY stream_id")
        versions: dict[bytes, int] = dict(rows)
        keys = await database.fetch_all("SELECT user_id, wrapped, master_key_id FROM user_keys ORDER BY user_id")
        self._registered = len(keys)
        for id_bytes, wrapped, master_key_id in keys:
            if wrapped is not None:
                user_id = uuid_of(id_bytes)
                key = self._vault.key_of(user_id, wrapped, master_key_id)
                self._living.append(HistoryUser(user_id, key, versions[id_bytes]))

    async def write(self, database: Database, up_to: int | None = None) -> None:
        """Write the log from its present head up to a position, by default up to the end of the history."""
        self._mark = await read_head(database)
        self._chain_key = (await open_log_keys(database, self._vault)).chain
        async with database.connection() as connection:
            for statement in self._statements(self._events if up_to is None else up_to):
                await connection.execute("BEGIN")
                await connection.execute(statements.insert_events(statement.links))
                if statement.born:
                    keys = [KeyRow(one.id, one.key.wrapped, None, one.key.master_key_id) for one in statement.born]
                    await connection.execute(statements.keep_keys(keys))
                if statement.credentials:
                    await connection.execute(statements.replace_credentials(statement.credentials.values()))
                if statement.gone:
                    ids = binaries(one.id.bytes for one in statement.gone)
                    destroyed = [self._vault.destroyed(one.id) for one in statement.gone]
                    await connection.execute(statements.replace_keys(destroyed))
                    await connection.execute(statements.DELETE_CREDENTIALS.format(ids=ids))
                await connection.execute(statements.move_head(self._mark, 0))
                await connection.execute("COMMIT")

    def _statements(self, up_to: int) -> Iterator[Statement]:
        while (left := up_to - self._mark.position) > 0:
            statement = Statement()
            for _ in range(min(STATEMENT_EVENTS, left)):
                self._happen(statement)
            yield statement

    def _happen(self, statement: Statement) -> None:
        due = self._registered * self._events <= self._mark.position * self._users
        if due and self._registered < self._users:
            user = self._newcomer()
            statement.born.append(user)
            event: Event = self._registration()
        else:
            place = self._chance.randrange(len(self._living))
            user, event = self._living[place], self._change()
            if isinstance(event, UserDeleted):
                self._living[place] = self._living[-1]
                self._living.pop()
                statement.gone.append(user)
        self._record(statement, user, event)

    def _newcomer(self) -> HistoryUser:
        milliseconds = int(self._now().timestamp() * 1000)
        user_id = uuid7(milliseconds, self._chance.getrandbits(74))
        user = HistoryUser(user_id, self._vault.new_key(user_id))
        self._living.append(user)
        self._registered += 1
        return user

    def _now(self) -> datetime:
        return FIRST + timedelta(seconds=7 * self._mark.position, microseconds=self._mark.position % 1_000_000)

    def _registration(self) -> UserRegistered:
        number = self._registered
        attributes = {"address": "9286 Bethany Glens, Vasqueztown", "accounts": [number] * 6, "note": "x" * 160}
        return UserRegistered(
            username=f"user{number}",
            email=f"user{number}@example.com",
            name=f"User {number}",
            role=Role.CUSTOMER,
            attributes=attributes,
        )

    def _change(self) -> Event:
        number = self._mark.position
        kind = self._chance.random()
        if kind < 0.005 and len(self._living) > 1:
            return UserDeleted()
        if kind < 0.03:
            return RoleChanged(self._chance.choice(list(Role)))
        if kind < 0.13:
            return PasswordChanged(f"$argon2id$v=19$m=65536,t=3,p=4${number:022}${number:043}")
        if kind < 0.5:
            return UserUpdated(name=f"Name {number}", email=f"mail{number}@example.com")
        return UserUpdated(attributes={"address": f"{number} Bethany Glens, Vasqueztown", "seen": number})

    def _record(self, statement: Statement, user: HistoryUser, event: Event) -> None:
        user.version += 1
        origin = Origin(actor=user.id, correlation=UUID(int=self._mark.position))
        event_id = UUID(int=self._chance.getrandbits(128)).bytes
        sealed_hash: bytes | None = None
        if password_hash := password_hash_of(event):
            sealed_hash, statement.credentials[user.id] = self._vault.seal_credential(
                user.id, user.version, event_id, password_hash
            )
        stored = encode(event, origin, sealed_hash)
        place = place_of(user.id.bytes, user.version, event_id, stored.type, stored.data, stored.metadata)
        row = StoredRow(
            self._mark.position + 1,
            user.id.bytes,
            user.version,
            event_id,
            stored.type,
            stored.data,
            user.key.seal(stored.personal, place, secrets.token_bytes(12)),
            stored.metadata,
            self._now(),
        )
        link = Link(row, next_hash(self._chain_key, self._mark.hash, row))
        self._mark = link.mark
        statement.links.append(link)
