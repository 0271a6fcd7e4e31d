"""Child processes: run `rollcall` commands that end with this process."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from events.retry import Backoff
from rollcall.embedded import tether
from rollcall.settings import Settings

log = structlog.get_logger(__name__)

STOP_SECONDS: Final = 4.0
"""Time that a child has to stop before it is killed."""
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
SECRETS: Final = {
    "ROLLCALL_SIGNING_KEY": "serve",
    "ROLLCALL_OTHER_SIGNING_KEY": "serve",
    "ROLLCALL_ADMIN_PASSWORD": "serve",
    "ROLLCALL_HEAD_KEY": "heads",
    "ROLLCALL_SMTP_URL": "publish",
}
"""The only command that gets a secret."""
STEADY_SECONDS: Final = 60.0
"""A child that ran for longer than this resets the back-off."""


def own_metrics_port(settings: Settings, number: int) -> dict[str, str]:
    """The variable that gives a child its own metrics port, since processes cannot share one."""
    return {} if settings.metrics_port is None else {"ROLLCALL_METRICS_PORT": str(settings.metrics_port + number)}


def environment_of(arguments: Sequence[str], variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that a child gets: only the API gets the keys that sign access tokens, only `heads` its own key."""
    return {name: value for name, value in variables.items() if SECRETS.get(name.upper(), arguments[0]) == arguments[0]}


async def keep_running(
    name: str,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    *,
    given_up: Callable[[int, float], bool],
    started: Callable[[int], None] = lambda _: None,
    stop_seconds: float = STOP_SECONDS,
) -> int:
    """Restart the child with back-off until `given_up(code, seconds)`. Returns the last exit code."""
    clock = asyncio.get_running_loop().time
    pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        began = clock()
        status = await run_child(arguments, variables, started=started, stop_seconds=stop_seconds)
        if given_up(status, clock() - began):
            return status
        if clock() - began > STEADY_SECONDS:
            pauses.reset()
        pause = pauses.next()
        log.warning("child.restarting", part=name, status=status, retry_in=pause)
        await asyncio.sleep(pause)


async def run_child(
    arguments: Sequence[str],
    variables: Mapping[str, str] | None = None,
    *,
    started: Callable[[int], None] = lambda _: None,
    stop_seconds: float = STOP_SECONDS,
) -> int:
    """Run `rollcall ARGUMENT...` and return its exit code, which is negative if a signal ended it.

    Cancelling this stops the child. The child has its own session, so Ctrl-C reaches only this process. It inherits the
    environment as `environment_of` says, extended by `variables`. `started` is called with its process id.
    """
    process = await start_child(arguments, variables, stdin=asyncio.subprocess.DEVNULL)
    started(process.pid)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await stop_child(process, stop_seconds)


async def start_child(
    arguments: Sequence[str],
    variables: Mapping[str, str] | None = None,
    *,
    stdin: int,
    stdout: int | None = None,
    longest_line: int = 2**16,
) -> asyncio.subprocess.Process:
    """Start a child as `run_child` does, with these streams; the caller stops it."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        tether.__file__,
        str(os.getpid()),
        sys.executable,
        "-m",
        "rollcall",
        *arguments,
        env=environment_of(arguments, {**os.environ, **(variables or {})}),
        stdin=stdin,
        stdout=stdout,
        limit=longest_line,
        start_new_session=True,
    )


async def stop_child(process: asyncio.subprocess.Process, seconds: float = STOP_SECONDS) -> None:
    """Ask a child to stop, and kill it if it has not after some seconds."""
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
