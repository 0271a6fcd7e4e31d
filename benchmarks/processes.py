"""Run processes of the program and of its rivals on the databases of a bench."""

import asyncio
import base64
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from benchmarks.bench import Bench

ADMIN_PASSWORD: Final = "correct horse battery"  # noqa: S105
PASSWORD_PROFILE: Final = "owasp"  # noqa: S105


@asynccontextmanager
async def running(bench: Bench, *arguments: str, **variables: str) -> AsyncIterator[Process]:
    """Run `python ARGUMENT...` with the settings of the bench; terminate it at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=_environment(bench) | variables, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _environment(bench: Bench) -> dict[str, str]:
    key = base64.b64encode(bytes(32)).decode()
    return {
        **os.environ,
        "ROLLCALL_MYSQL_URL": bench.addresses.mysql_url,
        "ROLLCALL_MONGO_URL": bench.addresses.mongo_url,
        "ROLLCALL_MASTER_KEY": key,
        "ROLLCALL_SIGNING_KEY": key,
        "ROLLCALL_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "ROLLCALL_PASSWORD_PROFILE": PASSWORD_PROFILE,
        "ROLLCALL_LOG_LEVEL": "warning",
    }
