"""The WebSocket side of the server: graphql-transport-ws, by Strawberry, with its doors closed to malformed frames.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from collections.abc import AsyncGenerator
from typing import Any

from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

from graph.context import Context

REASON_BYTES = 123
"""What a close frame can hold beside its code (RFC 6455, section 5.5)."""


class Socket(AiohttpWebSocketAdapter):
    """Reads and writes frames."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        """The messages as they come; nesting that Python cannot follow counts as malformed."""
        try:
            async for message in super().iter_json(ignore_parsing_errors=ignore_parsing_errors):
                yield message
        except RecursionError as error:
            raise NonJsonMessageReceived from error

    async def close(self, code: int, reason: str) -> None:
        """Close with as much of the reason as fits."""
        await super().close(code, reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore"))


class TransportHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One connection. A message of another form than the protocol's closes it with 4400."""

    async def handle_message(self, message: Message) -> None:
        """Check the form, which the types only promise, then handle it."""
        fault = _fault(message)
        if fault is None:
            await super().handle_message(message)
        else:
            await self.handle_invalid_message(fault)


def _fault(message: object) -> str | None:
    """What is wrong with the form of a message, if anything."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "a message is a JSON object with a type"
    if message["type"] in {"subscribe", "complete"} and not isinstance(message.get("id"), str):
        return f"{message['type']}: id must be a string"
    return _subscribe_fault(message.get("payload")) if message["type"] == "subscribe" else None


def _subscribe_fault(payload: Any) -> str | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return "subscribe: payload.query must be a string"
    if not isinstance(payload.get("variables"), dict | None):
        return "subscribe: payload.variables must be an object"
    if not isinstance(payload.get("operationName"), str | None):
        return "subscribe: payload.operationName must be a string"
    return None
