"""Data directories of MySQL, copied from one that is initialised once in a run.

Initialising takes 1.4 s of processor time, a copy 0.2 s, and a run needs about fifteen.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollcall.embedded import mysql
from rollcall.embedded.files import locked
from rollcall.embedded.mysql import MySQLServer
from rollcall.embedded.sources import Report, Sources

_prepared: Path | None = None
"""Where the one of this run is. None outside of a run, as in chaos."""


@contextmanager
def prepared_in(base: Path) -> Iterator[None]:
    """Keep one below `base` for all workers of the run, and remove it when the last of them has ended."""
    global _prepared  # noqa: PLW0603 - of the run
    _prepared = base / "prepared"
    try:
        yield
    finally:
        ended = base / "ended"
        ended.mkdir(exist_ok=True)
        (ended / os.environ.get("PYTEST_XDIST_WORKER", "alone")).touch()
        if len(list(ended.iterdir())) >= int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")):
            shutil.rmtree(_prepared, ignore_errors=True)
        _prepared = None


async def mysql_server(data_dir: Path, report: Report) -> MySQLServer:
    """A server that is ready to be started, with a copy as its data directory."""
    await copy_mysql_data(data_dir, report)
    return await mysql.prepare(data_dir, Sources.of(os.environ), report)


async def copy_mysql_data(data_dir: Path, report: Report) -> None:
    """Give `data_dir` a data directory, unless it has one. The server makes itself an id of its own at its start."""
    if _prepared is None or (data_dir / "mysql").exists():
        return
    async with locked(_prepared / "lock", lambda: None):
        await mysql.prepare(_prepared, Sources.of(os.environ), report)
    await asyncio.to_thread(_copy, _prepared / "mysql", data_dir / "mysql")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("auto.cnf"))
