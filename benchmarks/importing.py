"""Very many users from a file: the rate of `rollcall import` beside registrations, its memory, and how it goes on
after `kill -9`.

`IMPORT_ROWS=1000000 make bench` imports a million rows; by default a tenth of that. The command runs as a process of
its own and is killed when half of the rows are in. The second run of the same file finds these and adds the others.
Then `--update` is run on rows that are there (`UPDATED_ROWS`): unchanged, and with other names. Registrations of 256
callers are measured before, between and after, on the same log: each run is compared with the mean of its two
neighbours.
"""

import asyncio
import json
import logging
import os
import tempfile
import time
from asyncio.subprocess import Process
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench, open_bench
from benchmarks.callers import share
from benchmarks.measure import Measured
from benchmarks.processes import running
from benchmarks.registrations import attributes, registration
from events.event_types import Origin

ROWS: Final = int(os.environ.get("IMPORT_ROWS", "100000"))
UPDATED_ROWS: Final = min(ROWS, int(os.environ.get("UPDATED_ROWS", "100000")))
CALLERS: Final = 256
REGISTRATIONS: Final = 10_000
"""Measured each time."""
PAUSE_SECONDS: Final = 0.1
"""Between two looks at the log and the memory of the command."""
LIMIT: Final = f"register, {CALLERS} callers"


@dataclass(slots=True)
class _Seen:
    """What was seen of a running import."""

    first_row_at: float = 0.0
    megabytes_early: float = 0.0
    """Peak of its memory when a tenth of its rows was in."""
    megabytes: float = 0.0


async def importing(bench: Bench) -> list[Measured]:
    """Import very many rows, and bring some of them up to date.

    Raises:
        RuntimeError: a row was lost or doubled, or the command failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "users.jsonl"
        return [*await _adding(bench, file), *await _updating(bench, file)]


async def _adding(bench: Bench, file: Path) -> list[Measured]:
    """Import the first half, kill the command, and import the file again."""
    await asyncio.to_thread(_write, file, ROWS)
    before = await _registrations(bench)
    began_at = await bench.store.head()
    async with _command(bench, file) as process:
        killed = await _watched(bench, process, began_at, ROWS // 2)
        process.kill()
        await process.wait()
        seconds = time.perf_counter() - killed.first_row_at
    await bench.commands.register(registration(), Origin())  # waits for what the command had sent last
    first = await bench.store.head() - 1 - began_at
    between = await _registrations(bench)
    resumed_at, started = await bench.store.head(), time.perf_counter()
    async with _command(bench, file) as process:
        resumed = await _watched(bench, process, resumed_at, ROWS - first)
        code, ended = await process.wait(), time.perf_counter()
        added = await bench.store.head() - resumed_at
    after = await _registrations(bench)
    if (first + added, code) != (ROWS, 0):
        raise RuntimeError(f"{first:,} and {added:,} of {ROWS:,} rows were added by the two runs; exit code {code}")
    skipping = resumed.first_row_at - started
    return [
        _measured(f"import, {first:,} rows, then kill -9", first / seconds, (before + between) / 2, killed),
        _measured(
            f"import of all {ROWS:,} rows again, {first:,} were in",
            (ROWS - first) / (ended - resumed.first_row_at),
            (between + after) / 2,
            resumed,
            f"the first new row after {skipping:.1f} s ({first / skipping:,.0f} rows a second, start included); ",
        ),
    ]


async def _updating(bench: Bench, file: Path) -> list[Measured]:
    """Run `--update` on rows that change nothing, and on rows with other names."""
    found, limits = list[tuple[str, float, float]](), [await _registrations(bench)]
    for what, title, changes in (("unchanged", "User", 0), ("changed", "Person", UPDATED_ROWS)):
        await asyncio.to_thread(_write, file, UPDATED_ROWS, title)
        began_at, started = await bench.store.head(), time.perf_counter()
        async with _command(bench, file, "--update") as process:
            megabytes = 0.0
            while process.returncode is None:
                megabytes = max(megabytes, _peak_megabytes(process.pid))
                await asyncio.sleep(PAUSE_SECONDS)
            code, seconds = await process.wait(), time.perf_counter() - started
        written = await bench.store.head() - began_at
        if (written, code) != (changes, 0):
            raise RuntimeError(f"{written:,} events were written for {changes:,} {what} rows; exit code {code}")
        limits.append(await _registrations(bench))
        found.append((what, UPDATED_ROWS / seconds, megabytes))
    return [
        Measured(
            f"import --update of {UPDATED_ROWS:,} {what} rows, start included",
            rate,
            LIMIT,
            limit := (before + after) / 2,
            rate / limit,
            f"{megabytes:.0f} MB at most",
            at=UPDATED_ROWS,
        )
        for (what, rate, megabytes), before, after in zip(found, limits, limits[1:], strict=False)
    ]


def _measured(what: str, mine: float, limit: float, seen: _Seen, note: str = "") -> Measured:
    memory = f"{seen.megabytes_early:.0f} MB at a tenth of its rows, {seen.megabytes:.0f} MB at their end"
    return Measured(what, mine, LIMIT, limit, mine / limit, note + memory, at=ROWS)


def _command(bench: Bench, file: Path, *options: str) -> AbstractAsyncContextManager[Process]:
    return running(bench, "-m", "rollcall", "import", str(file), *options)


async def _registrations(bench: Bench) -> float:
    async def register() -> None:
        await bench.commands.register(registration(), Origin())

    return (await share([register] * CALLERS, REGISTRATIONS)).rate


async def _watched(bench: Bench, process: Process, began_at: int, wanted: int) -> _Seen:
    """Watch an import until it has added this number of rows, or has ended."""
    seen = _Seen()
    while process.returncode is None and (added := await bench.store.head() - began_at) < wanted:
        if added and not seen.first_row_at:
            seen.first_row_at = time.perf_counter()
        seen.megabytes = max(seen.megabytes, _peak_megabytes(process.pid))
        if added < wanted / 10:
            seen.megabytes_early = seen.megabytes
        await asyncio.sleep(PAUSE_SECONDS)
    seen.first_row_at = seen.first_row_at or time.perf_counter()
    return seen


def _peak_megabytes(pid: int) -> float:
    """The peak of a process's memory; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return max((int(line.split()[1]) / 1_000 for line in lines if line.startswith("VmHWM:")), default=0.0)


def _write(file: Path, rows: int, title: str = "User") -> None:
    """Users like those of `registration`, of other names. They have no passwords either."""
    with file.open("w") as out:
        for number in range(rows):
            name = f"imported{number}"
            row = {
                "username": name,
                "email": f"{name}@example.com",
                "name": f"{title} {number}",
                "attributes": attributes(number),
            }
            out.write(json.dumps(row) + "\n")


async def _alone() -> None:
    """Run this benchmark and no other: `python -m benchmarks.importing`."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            for one in await importing(bench):
                limit = f"{one.limit} | {one.limit_rate:,.0f}"
                print(f"| {one.what} | {one.rate:,.0f} | {limit} | {one.ratio:.2f} | {one.note} |")


if __name__ == "__main__":
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    asyncio.run(_alone())
