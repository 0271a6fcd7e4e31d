"""Several API processes on one port, looked after by one."""

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import aiohttp

from tests.ports import in_a_row
from tests.system.installation import Installation, Process, own_servers
from tests.system.test_metrics import key, samples
from tests.waiting import PATIENCE_SECONDS, eventually

WORKERS = 2
SERVE = ("serve", "--workers", str(WORKERS))


def workers(supervisor: Process) -> dict[int, int]:
    """The process ids of the workers, by their numbers."""
    pid, found = supervisor.popen.pid, {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        if "--worker" in command:
            found[int(command[command.index("--worker") + 1])] = child
    return found


async def all_listen(installation: Installation, supervisor: Process, times: int = WORKERS) -> None:
    """Wait until so many workers have said that they listen, and the API that it is ready."""

    async def listen() -> bool:
        assert supervisor.popen.returncode is None, "".join(supervisor.err)
        return sum('"serving"' in line and '"PORT"' in line for line in supervisor.err) == times

    async def ready() -> bool:
        return all([await installation.ready() for _ in range(12)])  # whichever is asked: all, most probably

    await eventually(listen)
    await eventually(ready)


async def none_is_left(pids: list[int]) -> None:
    async def gone() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    await eventually(gone)


async def test_all_workers_answer_on_one_port_and_one_that_is_killed_is_started_again(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Connections are dealt out among them; one sign-in is a sign-in for all. While one is away the others answer."""
    metrics = in_a_row(WORKERS)
    installation = own_servers(tmp_path, *urls)
    variables = {**installation.variables, "ROLLCALL_METRICS_PORT": str(metrics)}
    installation = replace(installation, variables=variables)
    async with installation.running(*SERVE) as supervisor:
        await all_listen(installation, supervisor)
        token = await installation.sign_in("admin", "correct horse battery")
        for _ in range(60):  # a connection each
            assert (await installation.ask("{ me { username } }", token))["me"] == {"username": "admin"}

        answered = [
            (await samples(f"http://127.0.0.1:{metrics + number}")).get(
                key("rollcall_http_request_seconds_count", route="/graphql", status="200"), 0
            )
            for number in range(WORKERS)
        ]

        assert sum(answered) == 61
        assert all(answered), answered

        before = workers(supervisor)
        os.kill(before[1], signal.SIGKILL)
        await none_is_left([before[1]])
        for _ in range(20):
            assert await installation.ready()
        await all_listen(installation, supervisor, times=WORKERS + 1)
        after = workers(supervisor)

        assert {number for number in before if before[number] != after[number]} == {1}
        assert any('"child.restarting"' in line and '"api-1"' in line for line in supervisor.err)


async def test_told_to_stop_it_drains_and_leaves_nobody(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGTERM: open sockets are closed, the exit code is 0, and no worker is left, within 10 s."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running(*SERVE) as supervisor, aiohttp.ClientSession() as client:
        await all_listen(installation, supervisor)
        pids = list(workers(supervisor).values())
        sockets = [
            await client.ws_connect(f"{installation.url}/graphql", protocols=["graphql-transport-ws"]) for _ in range(6)
        ]
        stopping = asyncio.create_task(supervisor.stop())
        for one in sockets:
            await one.receive(timeout=PATIENCE_SECONDS)

        assert await stopping == 0
        assert 1001 in {one.close_code for one in sockets}  # a crowded machine may cut some off
        await none_is_left(pids)


async def test_the_workers_do_not_outlive_who_looks_after_them(urls: tuple[str, str], tmp_path: Path) -> None:
    """`kill -9` of that process ends them as well."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running(*SERVE) as supervisor:
        await all_listen(installation, supervisor)
        pids = list(workers(supervisor).values())
        await supervisor.stop(signal.SIGKILL)
        await none_is_left(pids)


async def test_a_port_that_is_taken_and_a_key_that_does_not_fit_end_it(urls: tuple[str, str], tmp_path: Path) -> None:
    """Not retried for ever: the exit codes are those of one process, and say what to do."""
    installation = own_servers(tmp_path, *urls)
    with socket.socket() as other:
        other.bind(("127.0.0.1", installation.port))
        other.listen()
        taken = await installation.run(*SERVE)
    made = await installation.run("create-admin", "ada", "ada@example.com", stdin="correct horse battery\n")
    wrong = {**installation.variables, "ROLLCALL_MASTER_KEY": "A" * 43 + "="}
    async with asyncio.timeout(PATIENCE_SECONDS):
        refused = await replace(installation, variables=wrong).run(*SERVE)

    assert made.code == 0
    assert (taken.code, "ROLLCALL_PORT: cannot listen" in taken.err) == (2, True)
    assert (refused.code, "master key" in refused.err) == (3, True)
