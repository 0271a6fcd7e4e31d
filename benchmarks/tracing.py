"""What tracing costs: processor time of the API for each request, in alternation.

    python -m benchmarks.tracing

Four servers: OpenTelemetry cannot be imported, it is installed and off, every request is traced, and one in a hundred.
The receiver answers and keeps nothing. Processor time, not the clock, because a busy machine disturbs it less. Each
round has another order. Printed are the median and the least of the microseconds for each request, then the median and
the quartiles of the ratio to the first server in the same round.
"""

import asyncio
import logging
import os
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import uvloop
from aiohttp import web

from benchmarks.bench import Bench, open_bench
from benchmarks.graphql import ONE, UPDATE, _change, _fill, admin_token
from benchmarks.load import load, request
from benchmarks.processes import running
from rollcall.embedded.process import free_port

ROUNDS: Final = 7
ABSENT: Final = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
TICKS: Final = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def measure(bench: Bench, directory: Path) -> None:
    """Print the processor time of each server for a query and for a change."""
    (directory / "sitecustomize.py").write_text(ABSENT)
    ids = await _fill(bench)
    async with AsyncExitStack() as stack:
        receiver = await _receiver(stack)
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver}
        variants: Mapping[str, Mapping[str, str]] = {
            "not installed": {"PYTHONPATH": str(directory)},
            "installed, off": {},
            "every request": on,
            "1 in 100": {**on, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
        }
        servers: dict[str, tuple[int, str, str]] = {}
        for name, variables in variants.items():
            port = free_port()
            process = await stack.enter_async_context(
                running(bench, "-m", "rollcall", "serve", ROLLCALL_PORT=str(port), **variables)
            )
            url = f"http://127.0.0.1:{port}/graphql"
            await _listens(port)
            servers[name] = process.pid, url, await admin_token(url)
        for what, count, connections in (("user(id), 16 callers", 960, 16), ("updateUser, 256 callers", 768, 256)):
            took: dict[str, list[float]] = {name: [] for name in servers}
            for number in range(ROUNDS + 1):
                for name in Random(number).sample(sorted(servers), len(servers)):
                    pid, url, token = servers[name]
                    if connections == 16:
                        requests = [request(url, token, ONE, {"id": id_}) for id_ in ids[:100]]
                    else:
                        requests = [request(url, token, UPDATE, _change(id_)) for id_ in ids]
                    before = seconds_of(pid)
                    await load(url, requests, count, connections)
                    if number:  # the first round warms up
                        took[name].append((seconds_of(pid) - before) / count)
            for name, found in took.items():
                ratios = [one / base for one, base in zip(found, took["not installed"], strict=True)]
                middle, least = statistics.median(found) * 1e6, min(found) * 1e6
                low, _, high = statistics.quantiles(ratios, n=4)
                ratio = f"{statistics.median(ratios):.2f} | {low:.2f} to {high:.2f}"
                print(f"| {what} | {name} | {middle:,.0f} | {least:,.0f} | {ratio} |", flush=True)


async def _listens(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def _receiver(stack: AsyncExitStack) -> str:
    """The address of a receiver of spans."""

    async def receive(asked: web.Request) -> web.Response:
        await asked.read()
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return f"http://127.0.0.1:{port}"


async def main() -> None:
    """Measure on private servers."""
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as modules:
        async with open_bench(Path(data)) as bench:
            await measure(bench, Path(modules))


if __name__ == "__main__":
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
