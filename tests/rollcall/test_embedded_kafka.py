"""The private Kafka server is real and durable, refuses strangers, and ends with the process that started it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from confluent_kafka.admin import AdminClient, NewTopic

from projections.publications.kafka_cluster import Cluster
from rollcall.embedded import ServersUnavailable, kafka_server
from rollcall.embedded.kafka import INSTEAD, cluster_at, prepare
from rollcall.embedded.servers import RuntimeFile, ServerProcess
from rollcall.embedded.sources import Sources
from tests.publications.brokers import require_java
from tests.waiting import PATIENCE_SECONDS, eventually

# Holds the server of argv[1] until it is killed, and prints its URL.
HOLDER = """
import asyncio, json, sys
from pathlib import Path
from rollcall.embedded import kafka_server

async def hold():
    async with kafka_server(Path(sys.argv[1]), lambda line: None) as url:
        print(json.dumps(url), flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


def quiet(line: str) -> None:
    pass


@pytest_asyncio.fixture(scope="module")
async def data_dir(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A data directory whose server has run once and holds the topic `kept`."""
    require_java()
    data_dir = tmp_path_factory.mktemp("kafka")
    async with kafka_server(data_dir, quiet) as url:
        cluster = cluster_at(url)
        admin = AdminClient(cluster.config(lambda _: None))
        await asyncio.to_thread(admin.create_topics([NewTopic("kept", 3, 1)])["kept"].result)
    yield data_dir


def running(data_dir: Path) -> ServerProcess:
    """The server of the runtime file."""
    return RuntimeFile(data_dir / "servers.json").entries()["kafka"].server


async def test_topics_survive_a_stop_and_a_kill_and_no_server_is_left(data_dir: Path) -> None:
    """A stopped and a killed server start again with their topics, on other ports; none survives its owner."""
    async with kafka_server(data_dir, quiet) as url:
        first = running(data_dir)
        assert await asyncio.to_thread(cluster_at(url).partitions, "kept") == 3
    assert not first.alive()

    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        shared = json.loads(await holder.stdout.readline())
    second = running(data_dir)
    async with kafka_server(data_dir, quiet) as url:
        assert url == shared
    assert second.alive()
    holder.kill()
    await holder.communicate()

    async def ended() -> bool:
        return not second.alive()

    await eventually(ended)
    async with kafka_server(data_dir, quiet) as url:
        assert await asyncio.to_thread(cluster_at(url).partitions, "kept") == 3


async def test_a_stranger_cannot_sign_in(data_dir: Path) -> None:
    """Without the password of the data directory no client gets an answer."""
    async with kafka_server(data_dir, quiet) as url:
        known = cluster_at(url)
        for stranger in (
            Cluster(known.bootstrap, {}),
            cluster_at(url.replace(url.split(":")[2].split("@")[0], "guessed")),
        ):
            assert await asyncio.to_thread(stranger.trouble, 3.0) is not None
        assert await asyncio.to_thread(known.trouble, 3.0) is None


async def test_without_java_the_error_says_what_to_do(tmp_path: Path) -> None:
    """It names what to install, and the variable that makes it unnecessary."""
    with pytest.raises(ServersUnavailable, match="there is no java on PATH") as raised:
        await prepare(tmp_path, Sources(str(tmp_path), tmp_path, None), quiet)

    assert INSTEAD in str(raised.value)
    assert "ROLLCALL_KAFKA_BOOTSTRAP" in INSTEAD


async def test_a_fetch_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A Maven that ends with an error is reported with its output, and the next attempt begins anew."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("java", 'echo "openjdk version \\"21.0.1\\"" >&2'), ("mvn", "echo no route; exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    sources = Sources(str(programs), tmp_path / "cache", None)

    for _ in range(2):
        with pytest.raises(ServersUnavailable, match="no route"):
            await prepare(tmp_path / "var", sources, quiet)

    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kafka.lock"]
