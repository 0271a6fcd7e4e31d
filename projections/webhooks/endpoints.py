"""The table of endpoints: who gets which changes, and how far each has come.

URL, filters and secrets are sealed with a key of the log, bound to the row's id and generation. So somebody who can
write to MySQL but has no key can neither read them nor send changes elsewhere, or more of them. What can be done is to
disable an endpoint, and to put an earlier row back.

Administrators change a row by compare-and-set of its generation; the publisher moves the checkpoint only of the
generation that it works on, and reads the row again when that fails.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.checkpoint import Checkpoint
from events.database import Database, Row, Source
from events.errors import EventsError, LogChanged
from events.event_types import Role
from events.ids import uuid_of
from events.sql import aware_utc, naive_utc
from events.store import EventStore
from projections.webhooks.signatures import Secret, new_secret, public_key, rotated

NONCE_BYTES: Final = 12
SEED_BYTES: Final = 32
MOST_ENDPOINTS: Final = 100
"""Each has a worker in the publisher's process."""

COLUMNS: Final = "id, generation, sealed, enabled, disabled_reason, log_id, position, hash, created_at"
READ: Final = f"SELECT {COLUMNS} FROM webhooks ORDER BY id"  # noqa: S608 - constants
READ_ONE: Final = f"SELECT {COLUMNS} FROM webhooks WHERE id = %s"  # noqa: S608 - constants
COUNT: Final = "SELECT COUNT(*) FROM webhooks FOR UPDATE"
ADD: Final = f"INSERT INTO webhooks ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608 - constants
CHANGE: Final = """
UPDATE webhooks SET generation = generation + 1, sealed = %s, enabled = %s, disabled_reason = %s
WHERE id = %s AND generation = %s
"""
PLACE: Final = "UPDATE webhooks SET log_id = %s, position = %s, hash = %s WHERE id = %s"
DROP_PENDING: Final = "DELETE FROM webhook_deliveries WHERE webhook_id = %s AND state = 'pending'"
DISABLE: Final = "UPDATE webhooks SET enabled = FALSE, disabled_reason = %s WHERE id = %s AND generation = %s"
REMOVE: Final = "DELETE FROM webhooks WHERE id = %s"
REMOVE_DELIVERIES: Final = "DELETE FROM webhook_deliveries WHERE webhook_id = %s LIMIT %s"
REMOVED_ROWS: Final = 10_000


class TooManyEndpoints(EventsError):
    """There are `MOST_ENDPOINTS` already."""

    def __init__(self) -> None:
        super().__init__(f"there are {MOST_ENDPOINTS} webhooks, and there may be no more: delete one first")


class EndpointChanged(EventsError):
    """An administrator has changed or deleted the endpoint meanwhile: read it again."""


class AlteredEndpoint(Exception):
    """The row of an endpoint cannot be opened: it was altered, or written under another log's key."""

    def __init__(self, endpoint_id: UUID) -> None:
        super().__init__(f"the row of webhook {endpoint_id} was altered: delete the webhook and create it again")


class EndpointFilter(msgspec.Struct, frozen=True):
    """What an endpoint gets. None: everything."""

    types: tuple[str, ...] | None = None
    """Stored names of event types."""
    roles: tuple[Role, ...] | None = None
    """Only changes of users who have one of the roles before or after the change."""


class Private(msgspec.Struct, frozen=True):
    """The sealed part of a row."""

    url: str
    wanted: EndpointFilter
    secrets: tuple[Secret, ...]
    seed: bytes | None = None
    """Of the Ed25519 key; None if the endpoint does not want `v1a` signatures."""

    def __repr__(self) -> str:
        return f"Private(url={self.url!r}, wanted={self.wanted!r})"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint."""

    id: UUID
    generation: int
    private: Private
    enabled: bool
    disabled_reason: str | None
    checkpoint: Checkpoint
    created_at: datetime

    @property
    def public_key(self) -> str | None:
        """The key that verifies `v1a` signatures; None if there are none."""
        return None if self.private.seed is None else public_key(self.private.seed)


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an administrator changes; None leaves as it is."""

    url: str | None = None
    wanted: EndpointFilter | None = None
    enabled: bool | None = None
    rotate_secret: bool = False
    asymmetric: bool | None = None


class Endpoints:
    """Reads and writes the table."""

    def __init__(
        self,
        database: Database,
        key: bytes,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._cipher = AESGCM(key)
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def all(self) -> list[Endpoint | AlteredEndpoint]:
        """Every endpoint, in the order of their creation; in place of one that cannot be opened, why."""
        return [self._opened(row) for row in await self._database.fetch_all(READ)]

    async def get(self, endpoint_id: UUID) -> Endpoint | None:
        """One endpoint, or None.

        Raises:
            AlteredEndpoint: its row cannot be opened.
        """
        row = await self._database.fetch_one(READ_ONE, (endpoint_id.bytes,))
        found = self._opened(row) if row else None
        if isinstance(found, AlteredEndpoint):
            raise found
        return found

    async def add(self, url: str, wanted: EndpointFilter, store: EventStore, *, asymmetric: bool = False) -> Endpoint:
        """Create an endpoint, which gets what happens from now on.

        Raises:
            TooManyEndpoints: there may be no more.
        """
        seed = self._random(SEED_BYTES) if asymmetric else None
        endpoint = Endpoint(
            id=self._new_id(),
            generation=1,
            private=Private(url, wanted, (new_secret(self._random),), seed),
            enabled=True,
            disabled_reason=None,
            checkpoint=await store.end(),
            created_at=self._clock(),
        )
        place = endpoint.checkpoint
        async with self._database.transaction() as transaction:
            found = await transaction.fetch_one(COUNT)
            if found is not None and found[0] >= MOST_ENDPOINTS:
                raise TooManyEndpoints
            await transaction.execute(
                ADD,
                (
                    endpoint.id.bytes,
                    endpoint.generation,
                    self._sealed(endpoint.id, 1, endpoint.private),
                    True,
                    None,
                    place.log_id.bytes,
                    place.position,
                    place.hash,
                    naive_utc(endpoint.created_at),
                ),
            )
        return endpoint

    async def change(self, endpoint: Endpoint, change: EndpointChange, store: EventStore) -> Endpoint:
        """Change an endpoint, and let the publisher read it and its deliveries again.

        Enabled again, it continues with what it has not got; if the log does not hold its checkpoint any more, with
        what happens from now on.

        Raises:
            EndpointChanged: somebody else was faster.
        """
        private = endpoint.private
        secrets, seed = private.secrets, private.seed
        if change.rotate_secret:
            secrets = rotated(secrets, self._clock(), self._random)
        if change.asymmetric is not None:
            seed = (seed or self._random(SEED_BYTES)) if change.asymmetric else None
        private = Private(change.url or private.url, change.wanted or private.wanted, secrets, seed)
        enabled = endpoint.enabled if change.enabled is None else change.enabled
        reason = None if change.enabled is not None else endpoint.disabled_reason
        place = endpoint.checkpoint
        if enabled and not endpoint.enabled:
            try:
                await store.check(place)
            except LogChanged:
                place = await store.end()
        generation = endpoint.generation + 1
        changed = msgspec.structs.replace(
            endpoint,
            generation=generation,
            private=private,
            enabled=enabled,
            disabled_reason=reason,
            checkpoint=place,
        )
        sealed = self._sealed(endpoint.id, generation, private)
        moved = place is not endpoint.checkpoint
        async with self._database.transaction() as transaction:
            values = (sealed, enabled, reason, endpoint.id.bytes, endpoint.generation)
            if not await transaction.execute(CHANGE, values):
                raise EndpointChanged
            if moved:
                await transaction.execute(PLACE, (place.log_id.bytes, place.position, place.hash, endpoint.id.bytes))
                await transaction.execute(DROP_PENDING, (endpoint.id.bytes,))
        return changed

    async def disable(self, endpoint: Endpoint, reason: str) -> None:
        """Send nothing more until an administrator enables it again, unless one has changed it meanwhile."""
        await self._database.execute(DISABLE, (reason, endpoint.id.bytes, endpoint.generation))

    async def remove(self, endpoint_id: UUID) -> bool:
        """Delete an endpoint and its deliveries. Whether there was one."""
        removed = await self._database.execute(REMOVE, (endpoint_id.bytes,))
        await self._database.sweep(REMOVE_DELIVERIES, (endpoint_id.bytes, REMOVED_ROWS))
        return removed > 0

    def _opened(self, row: Row) -> Endpoint | AlteredEndpoint:
        id_, generation, sealed, enabled, reason, log_id, position, digest, created_at = row
        endpoint_id = uuid_of(id_)
        try:
            text = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _place(endpoint_id, generation))
            private = msgspec.json.decode(text, type=Private)
        except (InvalidTag, ValueError):
            return AlteredEndpoint(endpoint_id)
        return Endpoint(
            id=endpoint_id,
            generation=generation,
            private=private,
            enabled=bool(enabled),
            disabled_reason=reason,
            checkpoint=Checkpoint(uuid_of(log_id), position, digest),
            created_at=aware_utc(created_at),
        )

    def _sealed(self, endpoint_id: UUID, generation: int, private: Private) -> bytes:
        nonce = self._random(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(private), _place(endpoint_id, generation))


MOVE: Final = """
UPDATE webhooks SET log_id = %s, position = %s, hash = %s
WHERE id = %s AND generation = %s AND enabled AND position = %s AND hash = %s
"""


async def move(transaction: Source, endpoint: Endpoint, after: Checkpoint, end: Checkpoint) -> None:
    """Move an endpoint's checkpoint.

    Raises:
        EndpointChanged: it is not enabled, is of another generation, or is not at `after`.
    """
    values = (end.log_id.bytes, end.position, end.hash, endpoint.id.bytes, endpoint.generation)
    if not await transaction.execute(MOVE, (*values, after.position, after.hash)):
        raise EndpointChanged


def positions(endpoints: Sequence[Endpoint | AlteredEndpoint]) -> list[int]:
    """The positions of the enabled endpoints."""
    return [found.checkpoint.position for found in endpoints if isinstance(found, Endpoint) and found.enabled]


def _place(endpoint_id: UUID, generation: int) -> bytes:
    return b"webhook v1" + endpoint_id.bytes + generation.to_bytes(4)
