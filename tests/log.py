"""A log of one test's own, and users to put into it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from events.appender import Appender
from events.claims import ClaimsKey
from events.commands import CommandResult, UserCommands
from events.database import Database
from events.event_types import Origin, Recorded, Role
from events.ids import new_id
from events.store import EventStore
from events.user import Register
from events.vault import Vault

MASTER_KEY = bytes(range(32))
NOBODY = Origin()


def present() -> datetime:
    """In UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Log:
    """The events floor, wired as the program wires it."""

    database: Database
    claims_key: ClaimsKey
    vault: Vault
    store: EventStore
    appender: Appender
    commands: UserCommands

    async def register(self, username: str, role: Role = Role.CUSTOMER, **fields: object) -> CommandResult:
        """Register a user that has all that it needs."""
        return await self.commands.register(registration(username, role=role, **fields), NOBODY)

    def dated(self, moment: datetime) -> "Log":
        """The same log; what is written through this face of it is recorded as of that moment."""
        return wire_with(self.database, self.claims_key, self.vault, lambda: moment)

    async def all(self) -> list[Recorded]:
        """The whole log."""
        return await self.store.read_all(after=0, limit=1_000_000)


def wire(database: Database, *other_master_keys: bytes) -> Log:
    """The events floor on a database that has its tables."""
    return wire_with(database, ClaimsKey(MASTER_KEY), Vault(MASTER_KEY, secrets.token_bytes, others=other_master_keys))


def wire_with(database: Database, key: ClaimsKey, vault: Vault, now: Callable[[], datetime] = present) -> Log:
    """The same under other keys, or dated by another clock."""
    store = EventStore(database, vault)
    appender = Appender(database, key, vault, now, new_id)
    commands = UserCommands(
        database=database, store=store, appender=appender, claims_key=key, vault=vault, new_id=new_id
    )
    return Log(database, key, vault, store, appender, commands)


def registration(username: str, **fields: object) -> Register:
    """A registration that is in order."""
    values = {"username": username, "email": f"{username}@example.com", "name": username.title(), **fields}
    return Register(**values)  # type: ignore[arg-type]
