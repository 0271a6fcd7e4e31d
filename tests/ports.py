"""Ports for servers of tests. Each is given once per cycle, so concurrent starts get different ports."""

import os
import re
import socket
from contextlib import suppress
from itertools import cycle
from random import SystemRandom
from typing import Final

EACH: Final = 2_000
"""Ports per pytest worker. All are below the range that the program uses for private servers."""
WORKERS: Final = 5


def _of_this_worker() -> list[int]:
    """The worker's ports in order from a random start, so a second run on the machine rarely begins at the same one."""
    [worker] = re.findall(r"\d+$", os.environ.get("PYTEST_XDIST_WORKER", "0"))
    first, start = 10_000 + EACH * (int(worker) % WORKERS), SystemRandom().randrange(EACH)
    return [first + (start + number) % EACH for number in range(EACH)]


_ports = cycle(_of_this_worker())


def free_port() -> int:
    """A free port of the loopback address."""
    for _ in range(EACH):
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"all {EACH} ports of this worker are in use")


def in_a_row(count: int) -> int:
    """The first of `count` consecutive free ports."""
    while True:
        ports = [free_port() for _ in range(count)]
        if ports[-1] - ports[0] == count - 1:
            return ports[0]
