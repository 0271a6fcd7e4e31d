"""Run every benchmark and write one report: `make bench`."""

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks import report
from benchmarks.append import append
from benchmarks.bench import Bench, open_bench
from benchmarks.fanout import fanout
from benchmarks.freshness import freshness
from benchmarks.graphql import graphql
from benchmarks.growth import growth
from benchmarks.importing import importing
from benchmarks.objects import data_objects
from benchmarks.publishing import publishing
from benchmarks.rebuild import rebuilds
from benchmarks.signin import signing_in
from benchmarks.streams import streams
from benchmarks.webhooks import webhooks
from benchmarks.writers import writers

Measure = Callable[[Bench], Awaitable[Any]]
Shape = Callable[[Any], report.Section]

# Freshness first, while the log is empty, so that the projectors catch up immediately.
ALL: Final[tuple[tuple[Measure, Shape], ...]] = (
    (freshness, report.fresh),
    (fanout, report.fanning_out),
    (append, report.appending),
    (writers, report.competing),
    (publishing, report.publishing_rates),
    (streams, report.long_streams),
    (graphql, report.asking),
    (signing_in, report.hashing),
    (rebuilds, report.rebuilding),
    (growth, report.growing),
    (data_objects, report.objects),
    (importing, report.imports),
    (webhooks, report.publishing),
)


async def run() -> list[report.Section]:
    """Run all benchmarks on private servers."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_bench(Path(directory)) as bench:
            return [shape(await _timed(measure, bench)) for measure, shape in ALL]


async def _timed(measure: Measure, bench: Bench) -> Any:
    """Run one benchmark, and print its name and how long it took."""
    name, started = measure.__name__, time.perf_counter()
    print(f"{name} ...", flush=True)
    found = await measure(bench)
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return found


def main() -> None:
    """Run the benchmarks, print the tables and write docs/benchmarks.md."""
    logging.getLogger("asyncmy").setLevel(logging.ERROR)  # it logs every note of the server
    # uvloop, as in production.
    report.publish(asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run()))


if __name__ == "__main__":
    main()
