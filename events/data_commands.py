"""Commands on data objects: load the object, decide, append.

Nothing here reads a view. An object's own stream says what it is and who owns it. Whether the owner is deleted is
decided with the append, under the lock of the head: the owner's deletion and a change of the object end as the change
and then the deletion, or as a refusal.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from events.appender import Appender
from events.batch import Append
from events.commands import Commands, check_version
from events.data_object import (
    CreateData,
    DataCommand,
    DataObject,
    TransferData,
    decide_data,
    evolve_data,
    existing_data,
)
from events.database import Database
from events.errors import EventsError, Problem, Reason, Rejected
from events.event_types import Origin
from events.idempotency import EarlierResult, Idempotency, Request
from events.ids import NewId
from events.log_keys import LogKeys
from events.snapshots import NEWEST
from events.store import EventStore
from events.tracing import span
from events.vault import UserKey


class NotTheOwner(EventsError):
    """Raised when a command is allowed to the owner only, and the object has another one."""

    def __init__(self) -> None:
        super().__init__("the data object belongs to someone else")


@dataclass(frozen=True, slots=True)
class DataResult:
    """The effect of a command."""

    data_id: UUID
    data: DataObject | None
    """The object after the command; None once deleted."""
    position: int
    """Position of the object's last event. A view that has applied it shows the command's effect."""
    changed: bool
    """False if there was nothing to change, and so nothing was written."""
    repeated: bool = False
    """True if an earlier request with the same idempotency key had this effect."""


class DataCommands(Commands[DataResult]):
    """Every command on data objects."""

    SUBJECT = "data object"

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        appender: Appender,
        keys: LogKeys,
        new_id: NewId,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` returns random numbers between 0 and 1, which spread the attempts of several processes."""
        super().__init__(database, appender, keys, jitter)
        self._store = store
        self._new_id = new_id

    async def past_data(
        self, data_id: UUID, *, at_position: int = NEWEST, as_of: datetime | None = None
    ) -> DataObject | None:
        """The object as of a position or an instant; None if there was none, or if its owner then is deleted by now."""
        if as_of is not None:
            at_position = min(at_position, await self._store.position_at(as_of))
        data, _ = await self._read(data_id, at_position)
        return data

    async def create(
        self,
        owner_id: UUID,
        command: CreateData,
        origin: Origin,
        idempotency: Idempotency | None = None,
        data_id: UUID | None = None,
    ) -> DataResult:
        """Create an object, with this id if one is given.

        Raises:
            Rejected: a value is not acceptable, or there is no such owner.
            WrongExpectedVersion: there is, or was, an object with this id.
        """
        data_id = data_id or self._new_id()

        async def attempt(request: Request | None) -> DataResult:
            key = await self._key_of(owner_id)
            return await self._carry_out(data_id, None, owner_id, key, command, origin, request)

        return await self._once(idempotency, attempt)

    async def change(
        self,
        data_id: UUID,
        command: DataCommand,
        origin: Origin,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
        owned_by: UUID | None = None,
    ) -> DataResult:
        """Carry out a command on an existing object, whose owner must be `owned_by` if that is given.

        With an expected version the object must be at it. Without one the command applies to the object as it is when
        its turn comes, like commands on users.

        Raises:
            Rejected: there is no such object or new owner, it is at another version, or the command is not acceptable.
            NotTheOwner: it belongs to someone else.
            UserBusy: too many commands on this object wait.
            WrongExpectedVersion: other processes were quicker `ATTEMPTS` times.
        """

        async def attempt(request: Request | None) -> DataResult:
            with span("fold"):
                data, key = await self._read(data_id, NEWEST)
            data = existing_data(data)
            if owned_by is not None and owned_by != data.owner_id:
                raise NotTheOwner
            check_version(expected_version, data.version, "data object")
            owner_id = data.owner_id
            if isinstance(command, TransferData):
                owner_id, key = command.owner_id, await self._key_of(command.owner_id)
            return await self._carry_out(data_id, data, owner_id, key, command, origin, request)

        return await self._in_turn(data_id, idempotency, attempt)

    async def _read(self, data_id: UUID, up_to: int) -> tuple[DataObject | None, UserKey | None]:
        """The object as of a position, and the key of its owner then."""
        data, stream = None, await self._store.read_data(data_id, up_to=up_to)
        for recorded in stream.events:
            data = evolve_data(data, recorded)
        return data, stream.key

    async def _key_of(self, owner_id: UUID) -> UserKey:
        key = await self._store.key_of_user(owner_id)
        if key is None:
            raise Rejected(Problem(Reason.NOT_FOUND, "there is no such user", ("ownerId",)))
        return key

    async def _carry_out(
        self,
        data_id: UUID,
        data: DataObject | None,
        owner_id: UUID,
        key: UserKey | None,
        command: DataCommand,
        origin: Origin,
        request: Request | None,
    ) -> DataResult:
        with span(f"decide {type(command).__name__}"):
            events = decide_data(data, command)
        if not events or key is None:  # without a key the object's events are forgotten, and so there is none
            data = existing_data(data)
            return DataResult(data_id, data, data.position, changed=False)
        version = data.version if data else 0
        outcome = await self._append(Append(data_id, version, data, key, events, origin, request, owner_id))
        if isinstance(outcome, EarlierResult):
            return await self._earlier_result(outcome)
        state = outcome.state()
        return DataResult(data_id, state if isinstance(state, DataObject) else None, outcome.position, changed=True)

    async def _earlier_result(self, earlier: EarlierResult) -> DataResult:
        """The first result again: the object as it was then; None if it or its owner is deleted since."""
        data, _ = await self._read(earlier.user_id, NEWEST)
        if data is not None:
            data = await self.past_data(earlier.user_id, at_position=earlier.position)
        return DataResult(earlier.user_id, data, earlier.position, changed=True, repeated=True)
