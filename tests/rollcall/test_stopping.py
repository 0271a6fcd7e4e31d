"""A stop that hangs is ended from outside the event loop, and a second signal ends it at once."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rollcall import exits
from tests.waiting import PATIENCE_SECONDS, eventually

BLOCKS_THE_LOOP = "time.sleep(3600)"
WAITS_FOR_EVER = "await asyncio.Event().wait()"
PROGRAM = """
import asyncio, time
from rollcall import console

async def work():
    print("working", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("stopping", flush=True)
        {cleanup}

console.STOP_SECONDS = {seconds}
console.run(work())
"""


@asynccontextmanager
async def stopping(cleanup: str, seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that got SIGTERM, and now cleans up so."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM.format(cleanup=cleanup, seconds=seconds),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.stdout.readline() == b"working\n"
            process.send_signal(signal.SIGTERM)
            assert await process.stdout.readline() == b"stopping\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_process_whose_event_loop_is_blocked_ends_when_the_limit_of_the_stop_has_passed() -> None:
    async with stopping(BLOCKS_THE_LOOP, seconds=0.2) as process, asyncio.timeout(PATIENCE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == exits.INTERRUPTED
    assert b"stop.abandoned" in output
    assert b"work" in output, "the tasks are named"


async def test_a_cleanup_that_never_ends_is_abandoned_and_named() -> None:
    async with stopping(WAITS_FOR_EVER, seconds=0.2) as process, asyncio.timeout(PATIENCE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == exits.INTERRUPTED
    assert b"main: work > Event.wait" in output


async def test_a_second_signal_ends_the_process_at_once() -> None:
    async with stopping(WAITS_FOR_EVER, seconds=3600) as process:

        async def ended_by_another_signal() -> bool:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)  # `send_signal` would reap the process if it has ended
            return process.returncode is not None

        await eventually(ended_by_another_signal)
        output, _ = await process.communicate()
    assert process.returncode == exits.INTERRUPTED
    assert b"stop.cut_short" in output
