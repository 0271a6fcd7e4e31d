"""The private servers are real and durable, shared between processes, and end with the process that started them."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncmy
import pytest
import pytest_asyncio
from asyncmy.errors import OperationalError
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from rollcall.embedded import Addresses, ServersUnavailable, process, servers
from rollcall.embedded.servers import RuntimeFile, ServerEntry, ServerProcess, _born_by_ps, servers_from
from rollcall.embedded.sources import Sources
from tests.waiting import PATIENCE_SECONDS

# Holds the servers of argv[1] until its standard input ends, and prints their addresses.
HOLDER = """
import asyncio, json, sys
from pathlib import Path
from rollcall.embedded import servers

async def hold():
    async with servers(Path(sys.argv[1]), lambda line: print(json.dumps(line), flush=True)) as addresses:
        print(json.dumps([addresses.mysql_url, addresses.mongo_url]), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


def quiet(line: str) -> None:
    pass


class Holder:
    """Another process that uses the servers of a data directory, and owns them if it started them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.reported: list[str] = []

    async def addresses(self) -> Addresses:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while isinstance(line := json.loads(await self.process.stdout.readline()), str):
                self.reported.append(line)
        return Addresses(*line)

    async def leave(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.process.communicate(b"")

    async def kill(self) -> None:
        self.process.kill()
        await self.leave()


@asynccontextmanager
async def holder(data_dir: Path) -> AsyncIterator[Holder]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(data_dir), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Holder(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest_asyncio.fixture(scope="module")
async def initialised(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A data directory whose servers have run once, with one row in each."""
    data_dir = tmp_path_factory.mktemp("initialised")
    async with servers(data_dir, quiet) as addresses:
        await mysql(addresses, "CREATE TABLE kept (id INT PRIMARY KEY)", "INSERT INTO kept VALUES (1)")
        with MongoClient[dict[str, Any]](addresses.mongo_url) as client:
            client.get_default_database().kept.insert_one({"_id": 1})
    yield data_dir
    shutil.rmtree(data_dir)


@pytest_asyncio.fixture(scope="module")
async def shared(initialised: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A data directory with running servers, for tests that change nothing in it."""
    data_dir = tmp_path_factory.mktemp("shared") / "var"
    shutil.copytree(initialised, data_dir)
    async with servers(data_dir, quiet):
        yield data_dir
    shutil.rmtree(data_dir)


@pytest_asyncio.fixture
async def addresses(shared: Path) -> Addresses:
    """Addresses of the running servers of `shared`."""
    entries = RuntimeFile(shared / "servers.json").entries()
    return Addresses(entries["mysql"].url, entries["mongo"].url)


@pytest.fixture
def data_dir(initialised: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of `initialised` for one test, whose path is too long for a socket."""
    deep = tmp_path / ("d" * 100) / "var"
    shutil.copytree(initialised, deep)
    yield deep
    shutil.rmtree(deep)


async def mysql(addresses: Addresses, *statements: str) -> Any:
    url = urlsplit(addresses.mysql_url)
    assert url.port is not None
    connection = await asyncmy.connect(
        host=url.hostname, port=url.port, user=url.username, password=url.password, db=url.path[1:], autocommit=True
    )
    async with connection, connection.cursor() as cursor:
        for statement in statements:
            await cursor.execute(statement)
        return await cursor.fetchall()


async def assert_data_kept(addresses: Addresses) -> None:
    assert await mysql(addresses, "SELECT id FROM kept") == ((1,),)
    with MongoClient[dict[str, Any]](addresses.mongo_url) as client:
        assert client.get_default_database().kept.count_documents({"_id": 1}) == 1


def running(data_dir: Path) -> dict[str, ServerProcess]:
    """The servers of the runtime file, which must all be alive."""
    found = {name: entry.server for name, entry in RuntimeFile(data_dir / "servers.json").entries().items()}
    assert all(server.alive() for server in found.values())
    return found


def children(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes cannot be awaited
            await asyncio.sleep(0.02)


async def test_mysql_is_durable_utc_utf8_and_replicable(addresses: Addresses) -> None:
    """Commits are synced, the time zone is UTC, the character set is utf8mb4, and the binary log is on."""
    ((*settings,),) = await mysql(
        addresses,
        "SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin, @@global.time_zone,"
        " @@character_set_server, DATABASE()",
    )

    assert settings == [1, 1, 1, "+00:00", "utf8mb4", "rollcall"]


async def test_servers_refuse_a_client_without_the_password(addresses: Addresses) -> None:
    """Another user of this machine, who can reach the ports, cannot use the servers."""
    mysql_port, mongo_port = (urlsplit(url).port for url in (addresses.mysql_url, addresses.mongo_url))

    with pytest.raises(OperationalError, match="Access denied"):
        await asyncmy.connect(host="127.0.0.1", port=mysql_port or 0, user="root", password="")
    with (
        MongoClient[dict[str, Any]]("127.0.0.1", mongo_port, directConnection=True) as client,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        client.rollcall.users.find_one()


async def test_the_private_mongod_unpacks_no_zlib(addresses: Addresses) -> None:
    """Releases before 6.0.27 leak memory to whoever can connect and sends zlib (CVE-2025-14847); the others stay."""
    with MongoClient[dict[str, Any]](addresses.mongo_url) as client:
        agreed = client.admin.command("hello", compression=["zlib", "snappy", "zstd"])["compression"]

    assert agreed == ["snappy", "zstd"]


async def test_only_the_owner_can_read_the_passwords(shared: Path) -> None:
    """Other users can read neither the runtime file nor the data directories."""
    secret = [shared / name for name in ("servers.json", "mysql", "mongo")]

    assert [path.stat().st_mode & 0o077 for path in secret] == [0, 0, 0]


async def test_second_start_has_the_data_of_the_first(data_dir: Path) -> None:
    """The data of the previous run is there, on new ports, at the first login after the restart."""
    async with servers(data_dir, quiet) as addresses:
        await assert_data_kept(addresses)


async def test_exit_stops_the_started_servers(data_dir: Path) -> None:
    """When the block is cancelled, even twice, no server runs and the runtime file names none."""
    started: dict[str, ServerProcess] = {}

    async def body() -> None:
        async with servers(data_dir, quiet):
            started.update(running(data_dir))
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await eventually(lambda: len(started) == 2 or task.done())
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # a second time, while the servers are being stopped
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(server.alive() for server in started.values())
    assert running(data_dir) == {}


async def test_cancelled_start_leaves_nothing(data_dir: Path) -> None:
    """A start that is cancelled stops the servers that it had begun to start."""
    task = asyncio.create_task(servers(data_dir, quiet).__aenter__())
    runtime = RuntimeFile(data_dir / "servers.json")
    await eventually(lambda: len(runtime.entries()) == 2)
    started = running(data_dir)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(server.alive() for server in started.values())


async def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(shared: Path) -> None:
    """The servers run in sessions of their own, so only their owner stops them."""
    sessions = {os.getsid(server.pid) for server in running(shared).values()}

    assert os.getsid(0) not in sessions


async def test_second_process_uses_the_running_servers_and_leaves_them(shared: Path, addresses: Addresses) -> None:
    """A process that did not start the servers does not stop them."""
    before = running(shared)

    async with holder(shared) as other:
        assert await other.addresses() == addresses
        await other.leave()

    assert other.reported == []
    assert running(shared) == before


async def test_processes_that_start_at_once_share_one_pair(data_dir: Path) -> None:
    """When two processes find no server, one starts both servers; the other waits and uses them."""
    async with holder(data_dir) as one, holder(data_dir) as other:
        assert await one.addresses() == await other.addresses()

        starts = [line for line in one.reported + other.reported if line.startswith("starting")]
        assert len(starts) == 2
        owner, guest = sorted((one, other), key=lambda holder: len(holder.reported), reverse=True)
        await guest.leave()
        await owner.leave()


async def test_next_start_after_a_killed_owner_succeeds_at_once(data_dir: Path) -> None:
    """After `kill -9` of the owner its servers end by themselves, and the next start has servers of its own."""
    async with holder(data_dir) as owner:
        await owner.addresses()
        orphans = running(data_dir)
        await owner.kill()

        async with servers(data_dir, quiet) as addresses:
            await assert_data_kept(addresses)
            assert not any(server.alive() for server in orphans.values())


async def test_servers_of_a_killed_owner_end_by_themselves(data_dir: Path) -> None:
    """The servers of a killed owner end even if no other process comes."""
    async with holder(data_dir) as owner:
        await owner.addresses()
        orphans = running(data_dir)
        await owner.kill()

        await eventually(lambda: not any(server.alive() for server in orphans.values()))


async def test_crashed_server_of_a_living_owner_is_replaced(data_dir: Path) -> None:
    """The next process replaces a server that crashed; the other server keeps running."""
    async with servers(data_dir, quiet) as addresses:
        crashed = running(data_dir)["mongo"]
        os.kill(crashed.pid, signal.SIGKILL)
        await eventually(lambda: not crashed.alive())

        async with holder(data_dir) as other:
            found = await other.addresses()
            await assert_data_kept(found)
            await other.leave()

        assert (found.mysql_url == addresses.mysql_url, found.mongo_url == addresses.mongo_url) == (True, False)
        await mysql(addresses, "SELECT 1")


async def test_interrupted_first_initialisation_is_repeated(tmp_path: Path) -> None:
    """What a process leaves that is killed while it creates the data directories is never used."""
    async with holder(tmp_path) as owner:
        # MySQL's initialisation takes seconds. MongoDB's takes less than one: it may be done or not begun.
        await eventually(lambda: any(tmp_path.glob("mysql.new-*/*")))
        await owner.kill()
    assert "mysql" not in children(tmp_path)

    async with servers(tmp_path, quiet) as addresses:
        await mysql(addresses, "CREATE TABLE works (id INT)")

    assert {name for name in children(tmp_path) if "new" in name} == set()
    assert {"mysql", "mongo"} <= children(tmp_path)


async def test_stale_runtime_file_is_ignored(data_dir: Path) -> None:
    """A pid of no process, or of another program by now, is neither used as a server nor killed."""
    runtime, me = RuntimeFile(data_dir / "servers.json"), ServerProcess.of(os.getpid())
    bystander = await asyncio.create_subprocess_exec("sleep", "1000")
    reused = ServerEntry("mysql://stale", ServerProcess(bystander.pid, "an earlier time"), me)
    gone = ServerEntry("mongodb://stale", ServerProcess(2**22 + 1, "an earlier time"), me)
    runtime._write({"mysql": reused, "mongo": gone})

    async with servers(data_dir, quiet) as addresses:
        await assert_data_kept(addresses)

    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_process_identity_without_proc() -> None:
    """Without /proc a process is still distinguished from another one and from none."""
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    born = _born_by_ps(process.pid)
    process.kill()
    await process.wait()

    assert born
    assert born != _born_by_ps(1)
    assert _born_by_ps(process.pid) is None


async def test_start_tries_another_port_when_its_port_is_taken(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, addresses: Addresses
) -> None:
    """If another program takes the port before the server does, the start tries another port."""
    taken = urlsplit(addresses.mysql_url).port
    ports = iter([taken, taken])
    free_port = process.free_port
    monkeypatch.setattr(process, "free_port", lambda: next(ports, None) or free_port())

    async with servers(data_dir, quiet) as found:
        await assert_data_kept(found)


async def test_error_says_what_to_install_when_there_are_no_servers(tmp_path: Path) -> None:
    """The message names both servers, what to install, and the variables for servers of one's own."""
    nothing = Sources(search_path="", cache_dir=tmp_path / "cache", packaged_mongod=None)

    with pytest.raises(ServersUnavailable) as raised:
        async with servers_from(nothing, tmp_path, quiet):
            pass

    for expected in ("apt-get", "mysqld", "mongod", "Install", "ROLLCALL_MYSQL_URL", "ROLLCALL_MONGO_URL"):
        assert expected in str(raised.value)


async def test_mariadb_is_refused(tmp_path: Path) -> None:
    """The error for a `mysqld` on PATH that is MariaDB names the version found."""
    program = tmp_path / "bin" / "mysqld"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'mysqld  Ver 10.11.6-MariaDB for debian-linux-gnu on x86_64'\n")
    program.chmod(0o755)
    nothing_else = Sources(search_path=str(program.parent), cache_dir=tmp_path / "cache", packaged_mongod=None)

    with pytest.raises(ServersUnavailable, match=r"expected MySQL 8\.0\.29 or later, found: .*MariaDB"):
        async with servers_from(nothing_else, tmp_path, quiet):
            pass


async def test_a_failed_start_reports_the_servers_logs(data_dir: Path) -> None:
    """One error has the error lines of each server's log, and the path of that log."""
    (data_dir / "mysql" / "ibdata1").write_bytes(b"not a tablespace")
    (data_dir / "mongo" / "WiredTiger.turtle").write_bytes(b"not a table of tables")

    with pytest.raises(ServersUnavailable) as raised:
        async with servers(data_dir, quiet):
            pass

    assert re.search(r"(?s)MySQL .* ended with status .*mysqld\.log:.*\[ERROR\].*ibdata1", str(raised.value))
    assert re.search(r"(?s)MongoDB .* ended with status .*mongod\.log:.*WiredTiger\.turtle", str(raised.value))


async def test_a_server_that_cannot_start_stops_the_other(data_dir: Path) -> None:
    """A start that fails for one server leaves neither running."""
    (data_dir / "mysql" / "ibdata1").write_bytes(b"not a tablespace")

    with pytest.raises(ServersUnavailable, match="MySQL"):
        async with servers(data_dir, quiet):
            pass

    assert running(data_dir) == {}
    assert (data_dir / "mongo" / "mongod.lock").read_text() == ""  # holds the pid of a running or crashed mongod
    assert "Waiting for connections" in (data_dir / "logs" / "mongod.log").read_text()


def test_importing_the_package_imports_no_driver() -> None:
    """Commands that start no server do not pay for the drivers."""
    code = "import sys, rollcall.embedded; print(*({'pymongo', 'asyncmy', 'cryptography', 'aiohttp'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
