"""Node.js and the packages of this folder, for tests that look at the server through the clients that frontends use."""

import asyncio
import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NEEDED = "Node.js 20 and npm are needed for the tests of the clients of frontends"


@pytest.fixture(scope="session")
def npm_packages() -> Path:
    """The folder that has the packages that `package-lock.json` names, installed if they are not.

    On a developer's machine without Node.js such tests are skipped; in CI they are never.
    """
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be at it
        _install()
    return FOLDER


def _install() -> None:
    wanted = (FOLDER / "package-lock.json").read_bytes()
    done = FOLDER / "node_modules" / ".rollcall"
    if done.is_file() and done.read_bytes() == wanted:
        return
    finished = subprocess.run(["npm", "ci"], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    done.write_bytes(wanted)


@asynccontextmanager
async def node(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A script of this folder at work, killed when the block ends. What it prints is for the test to read."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(FOLDER / script),
        *arguments,
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
