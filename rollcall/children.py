"""Processes of this program that a process of it starts, and that do not outlive it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rollcall.embedded import tether

STOP_SECONDS: Final = 4.0
"""How long a child may take to stop before it is killed."""


async def run_child(
    arguments: Sequence[str],
    variables: Mapping[str, str] | None = None,
    *,
    started: Callable[[int], None] = lambda _: None,
    stop_seconds: float = STOP_SECONDS,
    handed_down: Sequence[int] = (),
) -> int:
    """Run `rollcall ARGUMENT...` to its end; its exit code, below 0 if a signal ended it. Cancelled, it is stopped.

    It is in a session of its own, so Ctrl-C reaches this process only, and has `variables` beside this one's own.
    `started` is told its process id. File descriptors that are `handed_down` are open in it under the same numbers.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        tether.__file__,
        str(os.getpid()),
        sys.executable,
        "-m",
        "rollcall",
        *arguments,
        env={**os.environ, **(variables or {})},
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=handed_down,
    )
    started(process.pid)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await _stop(process, stop_seconds)


async def _stop(process: asyncio.subprocess.Process, seconds: float) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
