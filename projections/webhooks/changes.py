"""What the log has for endpoints: pages of it, shared by endpoints at the same place.

A change is offered with the roles that its user, or the owner of its data object, has before and after it, for
endpoints that want some roles only. Roles are in the open part of events, so a deleted user has them too.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import structlog

from events.checkpoint import BEGINNING, Checkpoint
from events.database import Database, placeholders
from events.event_types import Damaged, Recorded, Role, RoleChanged, UserRegistered
from events.ids import uuid_of
from events.store import EventStore
from events.wakeup import Wakeup
from projections.webhooks.endpoints import EndpointFilter
from projections.webhooks.schedule import Delivery

log = structlog.get_logger(__name__)

PAGE_EVENTS: Final = 500
KEPT_PAGES: Final = 8
IDLE_SECONDS: Final = 1.0

ROLE_TYPES: Final = (UserRegistered.__name__, RoleChanged.__name__)
READ_ROLES: Final = """
SELECT stream_id, position, data FROM events FORCE INDEX (one_event_per_version)
WHERE stream_id IN ({ids}) AND type IN (%s, %s) AND position <= %s ORDER BY position
"""


class OfferedChange(msgspec.Struct, frozen=True):
    """One change."""

    recorded: Recorded
    roles: frozenset[Role]
    """The roles of the user, or of the data object's owner, before and after it."""

    def delivery(self, now: datetime) -> Delivery:
        """The change as a delivery that is due."""
        recorded = self.recorded
        return Delivery(
            position=recorded.position,
            stream_id=recorded.stream_id,
            version=recorded.version,
            event_id=recorded.event_id,
            type=recorded.type,
            fields=recorded.fields,
            recorded_at=recorded.recorded_at,
            owner_id=recorded.owner_id,
            next_attempt_at=now,
        )


class OfferedPage(msgspec.Struct, frozen=True):
    """The changes after a place in the log."""

    changes: list[OfferedChange]
    end: Checkpoint


def wants(wanted: EndpointFilter, change: OfferedChange) -> bool:
    """Whether an endpoint gets a change."""
    if wanted.types is not None and change.recorded.type not in wanted.types:
        return False
    return wanted.roles is None or not change.roles.isdisjoint(wanted.roles)


class LogPages:
    """Reads the log for all endpoints of this process."""

    def __init__(self, store: EventStore, database: Database, wakeup: Wakeup) -> None:
        self._store = store
        self._database = database
        self._wakeup = wakeup
        self._lock = asyncio.Lock()
        self._pages: dict[Checkpoint, OfferedPage] = {}
        self._end = BEGINNING
        self._grown = asyncio.Event()

    async def run(self) -> None:
        """Watch the end of the log, once for all endpoints, until cancelled.

        Raises:
            DatabaseUnavailable: MySQL is away.
        """
        while True:
            end = await self._wakeup.beyond(self._end, IDLE_SECONDS)
            if end != self._end:
                self._end = end
                self._grown.set()
                self._grown = asyncio.Event()

    async def beyond(self, place: Checkpoint) -> None:
        """Wait until the log has grown beyond a place, or for a while: it may have lost the place as well."""
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                while self._end.position <= place.position:
                    await self._grown.wait()

    async def after(self, place: Checkpoint) -> OfferedPage:
        """The next changes after a place, at most `PAGE_EVENTS`. A damaged event is passed over, and logged.

        Raises:
            LogChanged: the log does not hold the place.
        """
        async with self._lock:
            if place in self._pages:
                return self._pages[place]
            page = await self._store.read_past_damage(place, limit=PAGE_EVENTS)
            roles = await self._roles(page.events)
            offered = OfferedPage(
                [
                    OfferedChange(recorded, roles.get(recorded.position, frozenset()))
                    for recorded in page.events
                    if not _damaged(recorded)
                ],
                page.end,
            )
            if page.events:
                self._pages[place] = offered
                while len(self._pages) > KEPT_PAGES:
                    del self._pages[next(iter(self._pages))]
            return offered

    async def _roles(self, events: list[Recorded]) -> dict[int, frozenset[Role]]:
        """By position, the roles of the event's user before and after it."""
        if not events:
            return {}
        streams = {recorded.user_id for recorded in events}
        statement = READ_ROLES.format(ids=placeholders(len(streams)))
        values = [*(stream.bytes for stream in streams), *ROLE_TYPES, events[-1].position]
        set_at = {
            (uuid_of(stream), int(position)): msgspec.json.decode(data, type=_OpenRole).role
            for stream, position, data in await self._database.fetch_all(statement, values)
        }
        now = _latest(set_at.items(), before=events[0].position)
        roles = {}
        for recorded in events:
            before = now.get(recorded.user_id)
            after = set_at.get((recorded.user_id, recorded.position), before)
            if after is not None:
                now[recorded.user_id] = after
            roles[recorded.position] = frozenset(role for role in (before, after) if role is not None)
        return roles


class _OpenRole(msgspec.Struct):
    role: Role = Role.CUSTOMER


def _latest(set_at: Iterable[tuple[tuple[UUID, int], Role]], *, before: int) -> dict[UUID, Role]:
    return {stream: role for (stream, position), role in set_at if position < before}


def _damaged(recorded: Recorded) -> bool:
    if isinstance(recorded.event, Damaged):
        log.error(
            "webhook.damaged",
            position=recorded.position,
            user=str(recorded.stream_id),
            reason=recorded.event.reason,
        )
        return True
    return False
