"""Subscribers over graphql-transport-ws, who lose their connections and come back with the last position they heard."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec

from tests.chaos.ledger import Done, Heard, Subscribed
from tests.chaos.load import Client, World, registration

CHANGES: Final = """
subscription($userId: ID, $types: [UserEventType!], $after: Position) {
  userChanges(userId: $userId, types: $types, after: $after) { position type userId version }
}
"""
PROTOCOL: Final = "graphql-transport-ws"
FORBIDDEN: Final = 4403
HELLO_SECONDS: Final = 10.0


class SignedOut(Exception):
    """The server does not know the token any more."""


class Listener(Client):
    """Listens until it is told to stop, and never asks for anything twice."""

    def __init__(self, world: World, name: str, chance: random.Random, *, types: Sequence[str] | None = None) -> None:
        super().__init__(world, name, chance)
        self.types = types
        self.whose: UUID | None = None
        self.position = 0
        """The last that was heard."""
        self.connections = 0

    async def live(self) -> None:
        """Connection after connection, until cancelled."""
        while True:
            if self.bearer is None and not await self.sign_in():
                await self.rest(0.3)
                continue
            try:
                async with asyncio.timeout(self.chance.uniform(3, 30)):
                    await self._listen(self.chance.choice(self.world.apis).url)
            except SignedOut:
                self.bearer = None
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass  # the network, the server, or the listener itself was tired of it
            await self.rest(0.2)

    async def _listen(self, url: str) -> None:
        async with (
            asyncio.timeout(None),
            self.world.http.ws_connect(f"{url}/graphql", protocols=[PROTOCOL], heartbeat=4.0) as socket,
        ):
            self.connections += 1
            await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {self.bearer}"}})
            async with asyncio.timeout(HELLO_SECONDS):
                await self._expect_welcome(socket)
            await self._subscribe(socket, url)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._take(socket, msgspec.json.decode(message.data))
            if socket.close_code == FORBIDDEN:
                raise SignedOut

    async def _expect_welcome(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            if socket.close_code == FORBIDDEN:
                raise SignedOut
            raise aiohttp.ClientConnectionError

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse, url: str) -> None:
        self.ledger.write(Subscribed(after=self.position, to=url))
        whose = str(self.whose) if self.whose else None
        variables = {"after": str(self.position), "types": self.types, "userId": whose}
        await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": CHANGES, "variables": variables}})

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        match message["type"]:
            case "ping":
                await socket.send_json({"type": "pong"})
            case "next" if "errors" not in message["payload"]:
                self._hear(message["payload"]["data"]["userChanges"])
            case "next" | "error" | "complete":
                self._refused(message)
                await socket.close()

    def _hear(self, change: dict[str, Any]) -> None:
        self.position = int(change["position"])
        self.ledger.write(
            Heard(
                position=self.position, type=change["type"], user=UUID(change["userId"]), version=int(change["version"])
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


class Diarist(Listener):
    """A customer who listens to what becomes of itself while it and the administrators change it."""

    async def live(self) -> None:
        """Registers, then listens and changes itself until cancelled."""
        token = self.world.token()
        self.login = f"{self.name}-{self.world.seed}"
        while not isinstance(await self.command("register", registration(self.login, token), token=token), Done):
            self.user = self.bearer = None
        assert self.user is not None
        self.whose = self.user
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
