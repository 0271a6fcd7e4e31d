"""A log for one test, and registrations for it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from events.appender import Appender
from events.checkpoint import Checkpoint
from events.commands import CommandResult, UserCommands
from events.data_commands import DataCommands
from events.database import Database
from events.event_types import Origin, Recorded, Role
from events.ids import new_id
from events.log_keys import LogKeys
from events.store import EventStore
from events.user import Register
from events.vault import Vault

MASTER_KEY = bytes(range(32))
NOBODY = Origin()
KEYS = LogKeys.of(UUID(int=0), MASTER_KEY)


def present() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Log:
    """The events floor with the program's wiring."""

    database: Database
    keys: LogKeys
    vault: Vault
    store: EventStore
    appender: Appender
    commands: UserCommands
    data: DataCommands
    appended: Callable[[], None]

    async def register(self, username: str, role: Role = Role.CUSTOMER, **fields: object) -> CommandResult:
        """Register a user with valid fields."""
        return await self.commands.register(registration(username, role=role, **fields), NOBODY)

    def dated(self, moment: datetime) -> "Log":
        """The same log with a clock that stands at this moment."""
        return wire_with(self.database, self.keys, self.vault, lambda: moment, self.appended)

    async def at(self, position: int) -> Checkpoint:
        """The checkpoint at a position."""
        return await self.store.checkpoint_at(position)

    async def lose_tail(self, position: int) -> None:
        """Lose the events after a position, as a failover to a lagging replica does."""
        digest = (await self.at(position)).hash
        for statement in (
            "DROP TRIGGER events_refuse_delete",
            f"DELETE FROM events WHERE position > {position}",
            "DELETE FROM user_keys WHERE user_id NOT IN (SELECT stream_id FROM events)",
            "DELETE FROM credential_keys WHERE user_id NOT IN (SELECT stream_id FROM events)",
            "DELETE FROM claims WHERE user_id NOT IN (SELECT stream_id FROM events)",
            "UPDATE log_head SET numbers = (SELECT COALESCE(MAX(number), 0) FROM events)",
        ):
            await self.database.execute(statement)
        await self.database.execute("UPDATE log_head SET position = %s, hash = %s", (position, digest))

    async def all(self) -> list[Recorded]:
        """All events of the log."""
        return await self.store.read_all(after=0, limit=1_000_000)


def wire(database: Database, *other_master_keys: bytes, appended: Callable[[], None] = lambda: None) -> Log:
    """Wire the events floor on a database with tables. `appended` is called after each append."""
    return wire_with(
        database, KEYS, Vault(MASTER_KEY, secrets.token_bytes, others=other_master_keys), present, appended
    )


def wire_with(
    database: Database,
    keys: LogKeys,
    vault: Vault,
    now: Callable[[], datetime] = present,
    appended: Callable[[], None] = lambda: None,
) -> Log:
    """Wire the events floor with these keys and this clock."""

    def on_outcome(outcome: object, seconds: float) -> None:
        if not isinstance(outcome, Exception):
            appended()

    store = EventStore(database, vault)
    appender = Appender(database, keys, vault, now, new_id, on_outcome=on_outcome)
    commands = UserCommands(database=database, store=store, appender=appender, keys=keys, vault=vault, new_id=new_id)
    data = DataCommands(database=database, store=store, appender=appender, keys=keys, new_id=new_id)
    return Log(database, keys, vault, store, appender, commands, data, appended)


def registration(username: str, **fields: object) -> Register:
    """A valid registration."""
    values = {"username": username, "email": f"{username}@example.com", "name": username.title(), **fields}
    return Register(**values)  # type: ignore[arg-type]
