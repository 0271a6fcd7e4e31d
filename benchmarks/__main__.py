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
from benchmarks.freshness import Freshness, freshness
from benchmarks.graphql import graphql
from benchmarks.measure import Measured
from benchmarks.rebuild import rebuilds
from benchmarks.signin import signing_in
from benchmarks.streams import streams
from benchmarks.writers import writers

ALL = (append, writers, streams, rebuilds, graphql, signing_in)


async def run() -> tuple[list[Measured], list[Freshness]]:
    """All of it, on servers of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            fresh = await freshness(bench)  # first: the log is empty, so the projectors are there at once
            return [found for measure in ALL for found in await measure(bench)], fresh


def main() -> None:
    """Measure and print."""
    logging.getLogger("asyncmy").setLevel(logging.ERROR)  # it logs every note of the server
    table = Table("what", "a second", "limit", "limit a second", "ratio", box=None)
    # The event loop as the program has it.
    measured, fresh = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run())
    for found in measured:
        table.add_row(found.what, f"{found.rate:,.0f}", found.limit, f"{found.limit_rate:,.0f}", f"{found.ratio:.2f}")
    console = Console(width=120)
    console.print(table, soft_wrap=True)
    console.print(_freshness_table(fresh), soft_wrap=True)
    console.print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; medians")


def _freshness_table(fresh: list[Freshness]) -> Table:
    table = Table("from commit to", "load", "p50 ms", "p99 ms", box=None)
    for found in fresh:
        table.add_row(found.where, found.load, f"{found.p50:.1f}", f"{found.p99:.1f}")
    return table


main()
