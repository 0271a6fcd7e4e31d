"""A client as other teams write one: GraphQL over HTTP, and graphql-transport-ws over a WebSocket."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse, WSMsgType
from yarl import URL

from tests.waiting import PATIENCE_SECONDS

Json = Any
"""Any JSON value."""

SUBPROTOCOL = "graphql-transport-ws"


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer to one HTTP request."""

    status: int
    headers: dict[str, str]
    body: Json

    @property
    def codes(self) -> list[str | None]:
        """The codes of the answer's GraphQL errors."""
        return [error.get("extensions", {}).get("code") for error in self.body.get("errors", [])]

    @property
    def message(self) -> str:
        """The message of the answer's only GraphQL error."""
        (error,) = self.body["errors"]
        return str(error["message"])


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the server."""

    session: ClientSession
    base: URL
    authorization: str | None = None

    @property
    def url(self) -> URL:
        return self.base / "graphql"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}

    async def ask(self, document: str, /, **variables: Json) -> Answer:
        """The server's answer to an operation, whatever it is."""
        body = {"query": document, "variables": variables}
        async with self.session.post(self.url, json=body, headers=self.headers) as response:
            return await answer_of(response)

    async def data(self, document: str, /, **variables: Json) -> Json:
        """The data of an operation that must succeed."""
        answer = await self.ask(document, **variables)
        assert answer.status == 200, answer
        assert "errors" not in answer.body, answer
        return answer.body["data"]

    async def field(self, document: str, /, **variables: Json) -> Json:
        """The data of the only field of an operation that must succeed."""
        (value,) = (await self.data(document, **variables)).values()
        return value

    async def refused(self, document: str, /, **variables: Json) -> list[str | None]:
        """The codes of the GraphQL errors of an operation that must not succeed."""
        answer = await self.ask(document, **variables)
        assert answer.codes, answer
        return answer.codes

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["Socket"]:
        """A WebSocket that has been acknowledged, with this client's token if it has one."""
        async with self.raw_socket() as raw:
            socket = Socket(raw)
            payload = {"authorization": self.authorization} if self.authorization else {}
            await socket.send({"type": "connection_init", "payload": payload})
            assert await socket.receive() == {"type": "connection_ack"}
            yield socket

    @asynccontextmanager
    async def raw_socket(self) -> AsyncIterator[ClientWebSocketResponse]:
        """A WebSocket without any message yet."""
        async with self.session.ws_connect(self.url, protocols=(SUBPROTOCOL,)) as raw:
            yield raw


@dataclass(frozen=True, slots=True)
class Socket:
    """A WebSocket that speaks graphql-transport-ws."""

    raw: ClientWebSocketResponse
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def send(self, message: Json) -> None:
        await self.raw.send_str(json.dumps(message))

    async def receive(self) -> Json:
        """The next message of the server."""
        message = await self.raw.receive(timeout=PATIENCE_SECONDS)
        assert message.type is WSMsgType.TEXT, (message, self.raw.close_code)
        return json.loads(message.data)

    async def subscribe(self, document: str, /, **variables: Json) -> str:
        """Start an operation; its id."""
        id_ = str(next(self.ids))
        payload = {"query": document, "variables": variables}
        await self.send({"type": "subscribe", "id": id_, "payload": payload})
        return id_

    async def next(self, id_: str) -> Json:
        """The data of the next result, which must be this operation's and without errors."""
        message = await self.receive()
        assert message["type"] == "next", message
        assert message["id"] == id_, message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def codes(self, id_: str) -> list[str | None]:
        """The codes of the errors with which an operation ends before its first result, and its end."""
        message = await self.receive()
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        if message["type"] == "next":
            assert await self.receive() == {"type": "complete", "id": id_}
        return [error.get("extensions", {}).get("code") for error in errors]


def problems(payload: Json) -> list[tuple[str, list[str] | None]]:
    """The code and the field of each error of a mutation's payload, whose other fields must be null."""
    assert all(value is None for name, value in payload.items() if name != "errors"), payload
    assert all(error["message"] for error in payload["errors"]), payload
    return [(error["code"], error["field"]) for error in payload["errors"]]


async def close_code(raw: ClientWebSocketResponse) -> int | None:
    """The code with which the server closes the socket, after any messages."""
    while (message := await raw.receive(timeout=PATIENCE_SECONDS)).type is WSMsgType.TEXT:
        pass
    # aiohttp replaces the code by 1006 if the server has cut the connection before the client could answer the frame.
    return int(message.data) if message.type is WSMsgType.CLOSE else raw.close_code


async def answer_of(response: ClientResponse) -> Answer:
    """The server's answer, whose body must be JSON."""
    return Answer(response.status, dict(response.headers), await response.json())
