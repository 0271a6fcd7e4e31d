"""An endpoint for webhooks, in a process of its own: `python -m benchmarks.receiver PORT`.

It accepts every request at once, remembers when each position came for the first time, and tells it at `/seen`.
"""

import logging
import sys
import time

import msgspec
from aiohttp import web


class Event(msgspec.Struct):
    """What is read of a message."""

    sequence: str


def application() -> web.Application:
    """The endpoint."""
    seen: dict[int, float] = {}

    async def hook(request: web.Request) -> web.Response:
        position = int(msgspec.json.decode(await request.read(), type=Event).sequence)
        seen.setdefault(position, time.time())
        return web.Response(status=204)

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(seen)

    async def forget(_: web.Request) -> web.Response:
        seen.clear()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    app.router.add_get("/seen", tell)
    app.router.add_post("/forget", forget)
    return app


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=lambda _: None, access_log=None)
