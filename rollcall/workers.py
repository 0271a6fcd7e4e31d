"""`rollcall serve --workers N`: several API processes on one port of this machine.

Each worker is `rollcall serve` in a process of its own, and listens for itself: with SO_REUSEPORT the kernel deals new
connections out among all who listen at that moment. One socket that all inherit would let whoever wakes first take a
whole burst of connections, which then stay with it. A worker that dies takes with it the few connections that it had
not accepted yet; the next one goes to another worker at once.

This process does nothing but look after them. A worker that ends is started again, with growing pauses. If this process
ends, however it does, the workers are told to stop by the kernel: see `rollcall/embedded/tether.py`.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from rollcall import exits
from rollcall.children import keep_running, own_metrics_port
from rollcall.house import addresses_of
from rollcall.keys import keys_of
from rollcall.settings import BadSettings, Settings

log = structlog.get_logger(__name__)

MOST_WORKERS: Final = 256
STEADY_SECONDS: Final = 30.0
"""A worker that says so soon that trying again is of no use will say so again."""
DRAIN_SECONDS: Final = 8.0
"""How long a worker may take to stop: the process that looks after it has 10 s itself."""


async def serve_by_workers(settings: Settings, workers: int) -> int:
    """Keep so many API processes running until cancelled; the exit code of a worker that can never be one.

    Raises:
        BadSettings: the port is taken, or a variable cannot be used.
        ServersUnavailable: private servers cannot be had on this machine.
    """
    keys_of(settings)
    with _reserved(settings.host, settings.port) as port:
        async with addresses_of(settings, lambda line: log.info("servers", step=line)):
            own = [_own_variables(settings, number, workers, port) for number in range(workers)]
            keeping = [asyncio.create_task(_keep(number, variables)) for number, variables in enumerate(own)]
            try:
                ended, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for worker in keeping:
                    worker.cancel()
                await asyncio.wait(keeping)
            return ended.pop().result()


async def _keep(number: int, variables: dict[str, str]) -> int:
    arguments = ("serve", "--worker", str(number))
    return await keep_running(f"api-{number}", arguments, variables, given_up=_is_of_no_use, stop_seconds=DRAIN_SECONDS)


def _is_of_no_use(status: int, ran_seconds: float) -> bool:
    return status in (exits.BAD_INPUT, exits.FAULT) and ran_seconds < STEADY_SECONDS


def _own_variables(settings: Settings, number: int, workers: int, port: int) -> dict[str, str]:
    """What one worker has of its own: its port for metrics, and its share of the threads that hash."""
    return own_metrics_port(settings, number) | {
        "ROLLCALL_PORT": str(port),
        "ROLLCALL_PASSWORD_THREADS": str(max(1, settings.password_threads // workers)),
    }


@contextmanager
def _reserved(host: str, port: int) -> Iterator[int]:
    """Keep the port for those who share it; which one it is, if any would do.

    Raises:
        BadSettings: it is taken.
    """
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(address[0], socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address[4])  # refused also where others share it already
        with socket.socket(address[0], socket.SOCK_STREAM) as shared:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind(address[4])
            yield shared.getsockname()[1]
    except OSError as error:
        raise BadSettings(f"ROLLCALL_HOST, ROLLCALL_PORT: cannot listen on {host}:{port}: {error.strerror}") from error
