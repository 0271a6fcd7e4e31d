"""`python -m benchmarks.rivals stock|plain PORT`: two other servers on the same log and views, with the same settings.

stock: Strawberry's default view, executor and caches on asyncio's event loop, with the resolvers of the program.
plain: one aiohttp handler for each operation of the benchmark, which returns the same JSON, on uvloop.
"""

import asyncio
import sys
from typing import Any
from uuid import UUID, uuid4

import msgspec
import strawberry
import uvloop
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView
from strawberry.schema.config import StrawberryConfig

from auth.throttle import Throttle
from events.event_types import Origin
from events.user import Update, User
from graph.context import Context, Services
from graph.filters import test_of
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from projections.filters import Order, Slice
from rollcall.administrators import password_threads
from rollcall.api import services_of
from rollcall.environment import load_settings
from rollcall.keys import signing_keys
from rollcall.wiring import now, open_installation, open_writer


class StockView(GraphQLView[Context, None]):
    """Strawberry's view with the context of the program."""

    def __init__(self, services: Services) -> None:
        super().__init__(strawberry.Schema(query=Query, mutation=Mutation, config=StrawberryConfig(scalar_map=SCALARS)))
        self._services = services

    async def get_context(self, request: web.Request, response: web.StreamResponse) -> Context:  # noqa: ARG002
        """The context that the program's resolvers expect."""
        return context(self._services, request)


def context(services: Services, request: web.Request) -> Context:
    """The context that the program's resolvers expect."""
    return Context(services=services, correlation=uuid4(), authorization=request.headers.get("Authorization"))


class Plain:
    """Answers without GraphQL; selects the handler by the name of the operation."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        asked = msgspec.json.decode(await request.read())
        viewer = await context(self._services, request).signed_in()
        answer = await getattr(self, asked["query"].split()[1].partition("(")[0])(viewer, asked["variables"])
        return web.Response(body=msgspec.json.encode({"data": answer}), content_type="application/json")

    async def one(self, _: User, variables: dict[str, Any]) -> Any:
        """One user."""
        found = await self._services.mysql_users.get(UUID(variables["id"]))
        return {"user": found and shown(found)}

    async def page(self, _: User, __: dict[str, Any]) -> Any:
        """A page of a hundred users."""
        found, _more = await self._services.mysql_users.list(test_of(None), Order(), Slice(count=100))
        return {"users": {"edges": [{"node": shown(user)} for user in found]}}

    async def update(self, viewer: User, variables: dict[str, Any]) -> Any:
        """A user with a new name."""
        user_id, command = UUID(variables["input"]["id"]), Update(name=variables["input"]["name"])
        done = await self._services.commands.change(user_id, command, Origin(actor=viewer.id))
        return {"updateUser": {"user": done.user and shown(done.user), "position": str(done.position)}}


def shown(user: User) -> dict[str, Any]:
    """The eight fields that the benchmark selects."""
    return {
        "id": str(user.id),
        "username": user.username,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "attributes": user.attributes,
        "version": user.version,
        "createdAt": user.created_at.isoformat(),
    }


async def serve(kind: str, port: int) -> None:
    """Serve until cancelled."""
    settings = load_settings()
    async with (
        open_installation(settings, lambda _: None) as installation,
        password_threads(settings) as passwords,
    ):
        writer = await open_writer(installation)
        throttle = Throttle(installation.database, writer.keys.throttle, now)
        services = services_of(installation, writer, signing_keys(settings), passwords, throttle)
        app = web.Application()
        app.router.add_post("/graphql", StockView(services) if kind == "stock" else Plain(services).__call__)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    (asyncio.run if sys.argv[1] == "stock" else uvloop.run)(serve(sys.argv[1], int(sys.argv[2])))
