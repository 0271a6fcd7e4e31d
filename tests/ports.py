"""Ports for the servers of tests. None is given twice, so no two servers that start at the same time want the same."""

import os
import re
import socket
from contextlib import suppress
from itertools import cycle
from random import SystemRandom
from typing import Final

EACH: Final = 2_000
"""Ports of one worker of pytest. All lie below those that the program gives to private servers by itself."""
WORKERS: Final = 5


def _of_this_worker() -> list[int]:
    """In order, from anywhere on: a second run on the same machine is not likely to begin at the same."""
    [worker] = re.findall(r"\d+$", os.environ.get("PYTEST_XDIST_WORKER", "0"))
    first, start = 10_000 + EACH * (int(worker) % WORKERS), SystemRandom().randrange(EACH)
    return [first + (start + number) % EACH for number in range(EACH)]


_ports = cycle(_of_this_worker())


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    for _ in range(EACH):
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"all {EACH} ports of this worker are taken")


def in_a_row(count: int) -> int:
    """The first of so many ports, one after the other."""
    while True:
        ports = [free_port() for _ in range(count)]
        if ports[-1] - ports[0] == count - 1:
            return ports[0]
