"""Node.js and the npm packages of this folder, for tests that use the server through frontend clients."""

import asyncio
import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NEEDED = "the tests of frontend clients need Node.js 20 and npm"


@pytest.fixture(scope="session")
def npm_packages() -> Path:
    """The packages of this folder."""
    return installed(FOLDER)


def installed(folder: Path, build: Callable[[], None] = lambda: None) -> Path:
    """Install the packages of a folder's `package-lock.json` if necessary, and build; return the folder.

    Without npm these tests are skipped, but in CI they fail.
    """
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another pytest worker may be installing
        _install(folder)
        build()
    return folder


def _install(folder: Path) -> None:
    wanted = (folder / "package-lock.json").read_bytes()
    done = folder / "node_modules" / ".rollcall"
    if done.is_file() and done.read_bytes() == wanted:
        return
    finished = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    done.write_bytes(wanted)


@asynccontextmanager
async def node(script: str, *arguments: str, folder: Path = FOLDER) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script of a folder, with its standard output piped, and kill it when the block ends."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(folder / script),
        *arguments,
        cwd=folder,
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
