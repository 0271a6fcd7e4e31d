"""`make bench`: every benchmark, and a table of what it found."""

import asyncio
import logging
import os
import platform
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.append import append
from benchmarks.bench import open_bench
from benchmarks.fanout import FanOut, fanout
from benchmarks.freshness import Freshness, freshness
from benchmarks.graphql import graphql
from benchmarks.measure import Measured
from benchmarks.rebuild import rebuilds
from benchmarks.streams import streams
from benchmarks.writers import writers

ALL = (append, writers, streams, rebuilds, graphql)


async def run() -> tuple[list[Measured], list[Freshness], list[FanOut]]:
    """All of it, on servers of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            fresh = await freshness(bench)  # first: the log is empty, so the projectors are there at once
            fanned = await fanout(bench)
            return [found for measure in ALL for found in await measure(bench)], fresh, fanned


def main() -> None:
    """Measure and print."""
    logging.getLogger("asyncmy").setLevel(logging.ERROR)  # it logs every note of the server
    table = Table("what", "a second", "limit", "limit a second", "ratio", box=None)
    # The event loop as the program has it.
    measured, fresh, fanned = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run())
    for found in measured:
        table.add_row(found.what, f"{found.rate:,.0f}", found.limit, f"{found.limit_rate:,.0f}", f"{found.ratio:.2f}")
    console = Console(width=120)
    console.print(table, soft_wrap=True)
    console.print(_freshness_table(fresh), soft_wrap=True)
    console.print(_fanout_table(fanned), soft_wrap=True)
    console.print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; medians")


def _freshness_table(fresh: list[Freshness]) -> Table:
    table = Table("from commit to", "load", "p50 ms", "p99 ms", box=None)
    for found in fresh:
        table.add_row(found.where, found.load, f"{found.p50:.1f}", f"{found.p99:.1f}")
    return table


def _fanout_table(fanned: list[FanOut]) -> Table:
    table = Table(
        "subscribers", "stopped", "heard all", "after going on", "p50 ms", "p99 ms", "µs each", "MB", "grown", box=None
    )
    for found in fanned:
        going = f"{found.whole:,} of {found.listeners - found.stopped:,}"
        times = (f"{found.p50:.0f}", f"{found.p99:.0f}", f"{found.microseconds:.1f}")
        memory = (f"{found.memory:.0f}", f"{found.grown:.0f}")
        table.add_row(f"{found.listeners:,}", str(found.stopped), going, str(found.caught_up), *times, *memory)
    return table


main()
