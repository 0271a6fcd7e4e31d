"""The workers of `rollcall rebuild --workers`: child processes that fill and compare a part of the users each.

    rebuild ──▶ a part ──▶ worker folds and writes it ──▶ rebuild ──▶ a position ──▶ worker compares its part there

Both sides write JSON in lines: the rebuild to the worker's standard input, the worker to its standard output. A worker
keeps its users in memory between the two. It ends with its rebuild.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from events.bulk import split_users
from projections.errors import QuarantineFull, WorkerLost
from projections.folding import ItemsDone
from projections.rebuild import Rebuilder
from projections.rebuild_parts import Part
from projections.view import CopyId
from rollcall import exits
from rollcall.children import start_child, stop_child

LONGEST_LINE: Final = 2**22


class Said(msgspec.Struct, omit_defaults=True):
    """What a worker says: how far it is, that it is done, or why it ends."""

    done: int = 0
    """Events or users of the present step."""
    ended: bool = False
    """The step is done."""
    differences: list[str] = []
    """The first ones, if the step was to compare."""
    full: tuple[str, int, str, int] | None = None
    """The arguments of the `QuarantineFull` that ended it."""


class Goal(msgspec.Struct):
    """The position as of which a worker is to compare its part."""

    position: int


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    done: int = 0


class ChildWorkers:
    """The workers of one rebuild."""

    def __init__(self, rebuilder: Rebuilder, name: str, count: int) -> None:
        """`name` is the view's on the command line."""
        self._rebuilder = rebuilder
        self._name = name
        self._count = count
        self._workers: list[_Worker] = []

    async def fill(self, copy_id: CopyId, up_to: int | None, advance: ItemsDone) -> None:
        """As `Workers.fill`."""
        head = await self._rebuilder.store.head()
        ranges = await split_users(self._rebuilder.database, head, self._count)
        parts = [Part(copy_id, users, up_to, self._rebuilder.memory_bytes // len(ranges)) for users in ranges]
        for _ in parts:
            process = await start_child(
                ("rebuild", self._name, "--part"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                longest_line=LONGEST_LINE,
            )
            self._workers.append(_Worker(process))
        await _all(self._step(worker, part, advance) for worker, part in zip(self._workers, parts, strict=True))

    async def compare(self, position: int, advance: ItemsDone) -> list[str]:
        """As `Workers.compare`."""
        found = await _all(self._step(worker, Goal(position), advance) for worker in self._workers)
        return [difference for differences in found for difference in differences]

    async def end(self) -> None:
        """Stop every worker that still runs."""
        running = [worker.process for worker in self._workers if worker.process.returncode is None]
        await asyncio.gather(*map(stop_child, running))

    async def _step(self, worker: _Worker, wanted: Part | Goal, advance: ItemsDone) -> list[str]:
        """Give a worker its next step, and wait until it is done."""
        sending, receiving = worker.process.stdin, worker.process.stdout
        assert sending is not None and receiving is not None  # noqa: S101, PT018 - they were asked for
        worker.done = 0
        sending.write(msgspec.json.encode(wanted) + b"\n")
        async for line in receiving:
            said = msgspec.json.decode(line, type=Said)
            if said.full is not None:
                raise QuarantineFull(*said.full)
            if said.ended:
                return said.differences
            advance(said.done - worker.done)
            worker.done = said.done
        raise WorkerLost(self._rebuilder.copies.live.name, await worker.process.wait())


async def _all(steps: Iterable[Coroutine[None, None, list[str]]]) -> list[list[str]]:
    """The results of all steps; the first error ends the others."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def child_workers(rebuilder: Rebuilder, name: str, count: int) -> AsyncIterator[ChildWorkers]:
    """The workers of a rebuild, until the block ends."""
    workers = ChildWorkers(rebuilder, name, count)
    try:
        yield workers
    finally:
        await workers.end()


async def work(rebuilder: Rebuilder) -> int:
    """Be a worker: fill the part that standard input names, then compare it; the exit code."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    part = msgspec.json.decode(await reader.readline(), type=Part)
    rebuilder = replace(rebuilder, memory_bytes=part.memory_bytes)
    try:
        filled = await rebuilder.fill_part(part, _progress("folding"))
        _say(Said(ended=True))
        if not (line := await reader.readline()):
            return exits.INTERRUPTED  # the rebuild has ended
        goal = msgspec.json.decode(line, type=Goal)
        found = await rebuilder.compare_part(part, filled, goal.position, _progress("comparing"))
        _say(Said(ended=True, differences=found))
    except QuarantineFull as error:
        _say(Said(full=error.arguments))
        return exits.FAULT
    return exits.OK


def _progress(step: str) -> Callable[[str, str, int, int], None]:
    """Say how far one step is. Progress of the others would count the same work twice."""

    def progress(current: str, _unit: str, done: int, _total: int) -> None:
        if current == step:
            _say(Said(done=done))

    return progress


def _say(said: Said) -> None:
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    sys.stdout.flush()
