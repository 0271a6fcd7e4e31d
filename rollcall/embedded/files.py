"""Files and directories that appear complete or not at all, and a lock between processes."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from filelock import AsyncFileLock, Timeout


@contextmanager
def whole_directory(place: Path) -> Iterator[Path]:
    """A new directory next to `place`, renamed to it when the block succeeds, else removed.

    Directories that killed processes left are removed: hold a lock, so that no other process creates `place` too.
    Each has a name of its own, because a server of the killed process may still write into the old one; what it writes
    after the first removal goes with the second.
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
    """Replace the file at `path` atomically; only its owner may read it."""
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

    The kernel releases it when the process ends, also when it is killed; children do not inherit it.
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
