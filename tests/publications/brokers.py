"""A Kafka server that a test can pause, kill and restart, with more users than its own."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from rollcall.embedded import kafka
from rollcall.embedded.files import write_private
from rollcall.embedded.process import spawn
from rollcall.embedded.sources import Sources
from tests.ports import free_port
from tests.system.servers import OwnServer

GUEST_PASSWORD = "guest-password"


def require_java() -> None:
    """Without Java and Maven the tests on Kafka are skipped, but in CI they fail."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"{' and '.join(missing)} not found: {kafka.INSTEAD}")
        pytest.skip(f"{' and '.join(missing)} not found")


async def own_kafka(directory: Path) -> OwnServer:
    """Start a new Kafka server on one port; the user `guest` may sign in and has no rights. The caller must end it."""
    require_java()
    server = await kafka.prepare(directory, Sources.of(os.environ), logging.getLogger(__name__).info)
    properties = kafka.server_properties(server.directory / "data", server.password, guest=GUEST_PASSWORD)
    write_private(server.directory / kafka.PROPERTIES_FILE, properties)
    port = free_port()
    broker = OwnServer(server, port, spawn(server.command(port), server.log))
    await broker.answers()
    return broker
