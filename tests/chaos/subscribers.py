"""Subscribers over graphql-transport-ws that lose their connections and resume after the last received position."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

import aiohttp
import msgspec

from events.event_types import USER_TYPES
from tests.chaos.ledger import Done, Received, Subscribed
from tests.chaos.load import Client, World, registration

CHANGES: Final = """
subscription($userId: ID, $types: [UserEventType!], $after: Position) {
  userChanges(userId: $userId, types: $types, after: $after) { position type userId version }
}
"""
PROTOCOL: Final = "graphql-transport-ws"
FORBIDDEN: Final = 4403
ACK_SECONDS: Final = 10.0


class SignedOut(Exception):
    """The server no longer accepts the token."""


class Subscriber(Client):
    """Subscribes until cancelled, and resumes without repeating a position."""

    CHANGES: ClassVar[str] = CHANGES
    FIELD: ClassVar[str] = "userChanges"
    ID: ClassVar[str] = "userId"
    OF: ClassVar[frozenset[str]] = USER_TYPES
    """Stored names of the event types that the subscription has."""

    def __init__(self, world: World, name: str, chance: random.Random, *, types: Sequence[str] | None = None) -> None:
        super().__init__(world, name, chance)
        self.types = types
        self.user_id: UUID | None = None
        self.position = 0
        """The last received position."""
        self.connections = 0

    async def live(self) -> None:
        """Connect repeatedly until cancelled."""
        while True:
            if self.bearer is None and not await self.sign_in():
                await self.rest(0.3)
                continue
            try:
                async with asyncio.timeout(self.chance.uniform(3, 30)):
                    await self._run_connection(self.chance.choice(self.world.apis).url)
            except SignedOut:
                self.bearer = None
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass  # the network or the server failed, or the time of this connection is over
            await self.rest(0.2)

    async def _run_connection(self, url: str) -> None:
        async with (
            asyncio.timeout(None),
            self.world.http.ws_connect(f"{url}/graphql", protocols=[PROTOCOL], heartbeat=4.0) as socket,
        ):
            self.connections += 1
            await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {self.bearer}"}})
            async with asyncio.timeout(ACK_SECONDS):
                await self._expect_ack(socket)
            await self._subscribe(socket, url)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._handle(socket, msgspec.json.decode(message.data))
            if socket.close_code == FORBIDDEN:
                raise SignedOut

    async def _expect_ack(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            if socket.close_code == FORBIDDEN:
                raise SignedOut
            raise aiohttp.ClientConnectionError

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse, url: str) -> None:
        self.ledger.write(Subscribed(after=self.position, to=url))
        payload = {"query": self.CHANGES, "variables": self.variables()}
        await socket.send_json({"type": "subscribe", "id": "1", "payload": payload})

    def variables(self) -> dict[str, Any]:
        """Variables of the subscription, after the last received position."""
        user_id = str(self.user_id) if self.user_id else None
        return {"after": str(self.position), "types": self.types, "userId": user_id}

    async def _handle(self, socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        match message["type"]:
            case "ping":
                await socket.send_json({"type": "pong"})
            case "next" if "errors" not in message["payload"]:
                self._receive(message["payload"]["data"][self.FIELD])
            case "next" | "error" | "complete":
                self._refused(message)
                await socket.close()

    def _receive(self, change: dict[str, Any]) -> None:
        self.position = int(change["position"])
        self.ledger.write(
            Received(
                position=self.position, type=change["type"], user=UUID(change[self.ID]), version=int(change["version"])
            )
        )

    def _refused(self, message: dict[str, Any]) -> None:
        payload = message.get("payload") or {}
        errors = payload.get("errors", []) if isinstance(payload, dict) else payload
        codes = {error.get("extensions", {}).get("code") for error in errors}
        self.world.codes.update(f"subscription {code}" for code in codes)
        if codes & {"UNAUTHENTICATED", "FORBIDDEN"}:
            raise SignedOut
        if not codes <= {"UNAVAILABLE"} or message["type"] == "complete":
            self.wrong(f"the subscription ended with {msgspec.json.encode(message).decode()[:300]}")


class SelfSubscriber(Subscriber):
    """A customer who subscribes to its own changes, made by itself and by administrators."""

    async def live(self) -> None:
        """Register, then subscribe and change itself until cancelled."""
        for attempt in itertools.count(1):
            token = self.world.token()
            self.login = f"{self.name}-{self.world.seed}-{attempt}"  # one that was abandoned may have been registered
            if isinstance(await self.command("register", registration(self.login, token), token=token), Done):
                break
            self.user = self.bearer = None
        assert self.user is not None
        self.user_id = self.user
        self.world.hot.append(self.user)
        writing = asyncio.create_task(self._write())
        try:
            await super().live()
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    async def _write(self) -> None:
        while not self.world.ending:
            await self.rest(0.4)
            token = self.world.token()
            await self.command("updateUser", {"id": str(self.user), "attributes": {"mark": token}}, token=token)
